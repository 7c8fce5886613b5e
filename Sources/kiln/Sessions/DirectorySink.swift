import KilnModel
import KilnTargets

/// Writes the files of a session: one directory for each target.
struct DirectorySink: Sink {
    let directories: [SessionDirectory]
    /// The files of rows in each.
    let rows: [RowFile]
    /// At the end, a page is made of the files.
    var writesPage = false

    init(directories: [SessionDirectory], rows: [RowFile] = []) {
        self.directories = directories
        self.rows = rows
    }

    /// Makes the directory `output`, or one that is named by the target.
    init(of whom: Whom, at output: String?, started: WallTime, rows: [RowFile] = []) throws {
        let place = try SessionPlace(output, target: fileNamePart(whom.target.name.comm), started: started)
        self.init(directories: [try SessionDirectory(place, rows: rows)], rows: rows)
    }

    /// Makes the directory `output` for one target; for several targets, one directory each inside it.
    init(of targets: [Target], at output: String?, started: WallTime, rows: [RowFile]) throws {
        self.rows = rows
        let names = targets.map { fileNamePart($0.comm) }
        let place = try SessionPlace(output, target: names.first ?? "", started: started)
        guard targets.count > 1 else {
            directories = [try SessionDirectory(place, rows: rows)]
            return
        }
        var made: [SessionDirectory] = []
        do {
            for (target, name) in zip(targets, names) {
                let directory = place.path.appending("\(name)-\(target.pid)")
                made.append(try SessionDirectory(directory, within: place, rows: rows))
            }
        } catch {
            for directory in made.reversed() { directory.discard() }
            throw error
        }
        directories = made
    }

    func interval(_ interval: SessionInterval) throws {
        var attempts = Attempts()
        for (directory, lines) in zip(directories, interval.lines) { attempts.run { try directory.append(lines) } }
        try attempts.throwFirst()
    }

    func checkpoint(_ checkpoint: SessionCheckpoint) throws {
        var attempts = Attempts()
        for (directory, record) in zip(directories, checkpoint.records) { attempts.run { try directory.write(record) } }
        for stacks in checkpoint.stacks {
            for (directory, text) in zip(directories, stacks.byTarget) { attempts.run { try directory.write(text, to: stacks.files.folded) } }
            write(byCommand: stacks, &attempts)
        }
        write(checkpoint.samples, &attempts)
        try attempts.throwFirst()
    }

    /// Writes stacks, flamegraph and record. A file that can't be written doesn't keep the others from being written.
    func end(_ result: SessionResult) throws {
        var attempts = Attempts()
        for (process, directory) in directories.enumerated() {
            let record = result.records[process]
            for stacks in result.stacks where stacks.byTarget.indices.contains(process) {
                let folded = stacks.byTarget[process]
                attempts.run { try directory.write(folded, to: stacks.files.folded) }
                let byCommand = stacks.byCommand.indices.contains(process) ? stacks.byCommand[process] : nil
                attempts.run { try directory.write(sessionPicture(folded, stacks.kind, record, byCommand: byCommand), to: stacks.files.picture) }
            }
            attempts.run { try directory.write(record) }
        }
        for stacks in result.stacks { write(byCommand: stacks, &attempts) }
        write(result.samples, &attempts)
        for (process, comparison) in result.slowAgainstFast.enumerated() {
            guard let comparison else { continue }
            attempts.run { try directories[process].write(comparison.picture(of: result.records[process]), to: SlowAgainstFast.file) }
        }
        if writesPage { for directory in directories { attempts.run { try directory.writePage() } } }
        try attempts.throwFirst()
    }

    private func write(_ samples: [SampleRecords], _ attempts: inout Attempts) {
        for (directory, samples) in zip(directories, samples) { attempts.run { try directory.write(samplesText(samples), to: SessionDirectory.samples) } }
    }

    private func write(byCommand stacks: FoldedTexts, _ attempts: inout Attempts) {
        guard let name = stacks.files.byCommand else { return }
        for (directory, text) in zip(directories, stacks.byCommand) { attempts.run { try directory.write(text, to: name) } }
    }

    /// The lines that name the session's files.
    var wroteLines: [Line] { directories.flatMap(\.wroteLines) }

    /// Removes the directories that this session made.
    func discard() { for directory in directories.reversed() { directory.discard() } }
}

/// Several actions that all run, even if one of them fails. Keeps the first failure.
struct Attempts {
    private(set) var failure: (any Error)?

    init(_ failure: (any Error)? = nil) { self.failure = failure }

    mutating func run(_ body: () throws -> Void) { do { try body() } catch { failure = failure ?? error } }

    /// Throws the first failure, if there was one.
    func throwFirst() throws { if let failure { throw failure } }
}
