import Flamegraph
import Glibc
import KilnProfiles
import KilnSymbols
import SystemPackage

/// An input of folded stacks: a file, `-`, or the directory of a session, of which the stacks on the CPU are meant, or, where it has none, its only
/// other stacks.
struct FoldedSource {
    static let byCommandEnding = ".by-command.folded"

    private let given: String
    private let isDirectory: Bool

    init(_ given: String) {
        var status = stat()
        self.given = given
        isDirectory = given != "-" && stat(given, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    }

    /// Whether there are stacks that name commands. Files of them are known by their names.
    var hasCommands: Bool { isDirectory ? access(path(byCommand: true), F_OK) == 0 : given.hasSuffix(Self.byCommandEnding) }

    /// The file to read. - Parameter byCommand: of a directory, the one whose stacks name commands.
    func file(byCommand: Bool) throws -> String {
        guard isDirectory else { return given }
        let file = path(byCommand: byCommand)
        guard access(file, F_OK) == 0 else {
            let name = FilePath(file).lastComponent?.string ?? "", others = byCommand ? [] : otherStacks
            if others.count == 1 { return FilePath(given).appending(others[0]).string }
            throw Failure(
                "cannot read \(given): Is a directory without \(name). "
                    + (others.isEmpty
                        ? "Give the directory of a session that has it, or a file of folded stacks."
                        : "It has \(others.joined(separator: ", ")): give one of them."))
        }
        return file
    }

    /// Files of stacks that are not on the CPU: off it, or of an event.
    private var otherStacks: [String] {
        guard let directory = opendir(given) else { return [] }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) } }
            if name.hasPrefix("stacks."), name.hasSuffix(".folded"), !name.hasSuffix(Self.byCommandEnding) { names.append(name) }
        }
        return names.sorted()
    }

    private func path(byCommand: Bool) -> String { FilePath(given).appending("stacks" + (byCommand ? Self.byCommandEnding : ".folded")).string }
}

/// Refuses commands of which the stacks that were read have none.
func refuseUnknown(_ commands: [String], _ stacks: borrowing FoldedStacks, of file: String) throws {
    // Whatever could not be read has been said.
    if commands.isEmpty || stacks.acceptedLines == 0 && stacks.commandNames.isEmpty { return }
    guard stacks.haveCommands else {
        throw Failure("\(file): not all stacks name a command. Give a session's directory, or a file that ends in \(FoldedSource.byCommandEnding).")
    }
    for command in commands where !stacks.commandNames.contains(where: { FoldedReading.isCommand(command, $0) }) {
        throw Failure("\(file): no stack of \(command). There are: \(stacks.commandNames.joined(separator: ", ")).")
    }
}

/// Reads folded stacks from a file, or standard input for `-`. The halves of a large file are read at the same time. A profile in one of the
/// formats of `CollapseFormat.drawn` is collapsed; text that `kiln collapse` has to read first is refused.
func readStacks(of file: String, into stacks: inout FoldedStacks) throws {
    let firstPiece = 1 << 16
    let rejectedBefore = stacks.rejectedCount
    var beginning: [UInt8] = []
    var collapsed: (format: CollapseFormat, collapser: any Collapser)?
    try withInput(file, "folded stacks") { input in
        var size = firstPiece
        try forEachPiece { piece in
            let length = try input.read(into: UnsafeMutableRawBufferPointer(rebasing: piece[..<size]))
            size = piece.count
            let read = UnsafeRawBufferPointer(rebasing: piece[..<length])
            if beginning.isEmpty, let format = CollapseFormat.guess(Array(read), among: CollapseFormat.drawn) {
                collapsed = (format, format.collapser(.drawn, nil))
                beginning.append(0)
            }
            if let collapsed {
                collapsed.collapser.read(read)
                return length
            }
            stacks.read(read)
            beginning.append(contentsOf: piece[..<min(length, firstPiece - beginning.count)])
            // The first lines tell whether the others can be read without them.
            guard length > 0, stacks.canBeDivided, let halves = try Halves(input) else { return length }
            try halves.read(into: &stacks)
            return 0
        }
    }
    if let (format, collapser) = collapsed {
        collapser.endInput()
        collapser.finish()
        if let damaged = collapser.report.unreadableInputs.first { throw Failure("cannot read \(file): \(damaged.reason). Give \(format.title).") }
        for note in collapser.notes { say("kiln: \(file): \(note)") }
        Array(collapser.measure.comments.utf8).withUnsafeBytes { stacks.read($0) }
        try collapser.writeFolded { piece in piece.withUnsafeBytes { stacks.read($0) } }
    }
    stacks.endInput()
    if stacks.rejectedCount > rejectedBefore, let format = CollapseFormat.uncollapsed(beginning) {
        let command = file == "-" ? "kiln collapse" : "kiln collapse \(file)"
        throw Failure("\(file): \(format.title), not folded stacks. Collapse it first: `\(command)`.")
    }
}

/// What the numbers of a file are, for a sentence.
func countedText(_ file: String, _ measure: Measure) -> String {
    measure.counted.map { "\(file) counts \($0)" } ?? "\(file) doesn't say what it counts"
}

/// Where a large file is divided. What writes into a pipe has the other CPU, and nothing of a pipe can be read twice.
private struct Halves {
    /// Less is read by one thread sooner than a second one has begun and its stacks are merged.
    static let leastSize: Int64 = 4 << 20

    let input: FileDescriptor
    let begin: Int64
    let middle: Int64

    init?(_ input: FileDescriptor) throws {
        var status = stat()
        guard sysconf(Int32(_SC_NPROCESSORS_ONLN)) > 1, fstat(input.rawValue, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return nil }
        self.input = input
        begin = try input.seek(offset: 0, from: .current)
        let size = Int64(status.st_size) - begin
        guard size >= Self.leastSize else { return nil }
        var lineEnd: Int64?
        var offset = begin + size / 2
        try forEachPiece { piece in
            let length = try input.read(fromAbsoluteOffset: offset, into: UnsafeMutableRawBufferPointer(rebasing: piece[..<4096]))
            if let place = piece[..<length].firstIndex(of: UInt8(ascii: "\n")) { lineEnd = offset + Int64(place) }
            offset += Int64(length)
            return lineEnd == nil ? length : 0
        }
        guard let lineEnd else { return nil }
        middle = lineEnd + 1
    }

    func read(into stacks: inout FoldedStacks) throws {
        let part = Part(stacks.laterPart())
        let thread = BackgroundThread { [self] in
            part.result = Result { try read(from: middle, to: nil, into: &part.stacks) }
        }
        let first = Result { try read(from: begin, to: middle, into: &stacks) }
        thread.join()
        try first.get()
        try part.result.get()
        if !stacks.append(&part.stacks) { try read(from: middle, to: nil, into: &stacks) }
    }

    private func read(from begin: Int64, to end: Int64?, into stacks: inout FoldedStacks) throws {
        var offset = begin
        try forEachPiece { piece in
            let wanted = min(Int64(piece.count), (end ?? .max) - offset)
            let length = try input.read(fromAbsoluteOffset: offset, into: UnsafeMutableRawBufferPointer(rebasing: piece[..<Int(wanted)]))
            stacks.read(UnsafeRawBufferPointer(rebasing: piece[..<length]))
            offset += Int64(length)
            return length
        }
    }

    /// The second half's stacks: of the other thread until it is joined, then of this one.
    private final class Part: @unchecked Sendable {
        var stacks: FoldedStacks
        var result: Result<Void, any Error> = .success(())
        init(_ stacks: consuming FoldedStacks) { self.stacks = stacks }
    }
}

extension CollapseOptions {
    /// For a picture of a profile that nobody collapsed with options of their own.
    fileprivate static var drawn: CollapseOptions {
        var options = CollapseOptions()
        (options.marksKernel, options.marksJIT, options.marksInlined) = (true, true, true)
        options.demangle = { demangled($0) }
        return options
    }
}
