import FoundationEssentials
import KilnModel
import PrintableText

/// A recorded session, as far as its directory has it.
public struct ReportSession: Sendable {
    public let record: SessionRecord
    public let timeline: Timeline
    /// Those with the most time first.
    public let commands: [CommandHistory]
    /// Nil if there are none.
    public let stacks: StackHistory?
    /// What the page can't show, a sentence each.
    public let missing: [String]
    /// The rows of commands.jsonl, if they were asked for. Of latencies they have only count, p50 and p99, which a comparison needs.
    public let rows: [CommandRow]

    /// A page with more cells than these would be larger than 5 MB: a cell takes some 7 bits, and a third more as text.
    static let mostCells = 3_000_000

    /// Reads the files of a session. Every one but session.json may be missing.
    ///
    /// - Parameters:
    ///   - trie: Gets the session's stacks.
    ///   - keepsRows: For a comparison with another session.
    /// - Throws: `ReportError`, and what `files` throws.
    public init(_ files: some SessionFiles, into trie: inout StackTrie, keepsRows: Bool = false) throws {
        record = try Self.record(files)
        var intervals = Timeline.Intervals()
        func note(_ scanner: inout JSONScanner) throws {
            if let (time, length) = try CommandReader.interval(&scanner) { try intervals.add(time, length: length) }
        }
        let hasCommands = try files.forEachLine(of: "commands.jsonl", note)
        let hasSamples = try files.forEachLine(of: "samples.jsonl", note)
        var timeline = Timeline(intervals, mayHaveRows: !hasCommands)
        var reader = CommandReader(timeline: timeline, keepsRows: keepsRows)
        _ = try files.forEachLine(of: "commands.jsonl") { try reader.read(&$0) }
        var histories = reader.commands
        while histories.reduce(0, { $0 + $1.phases.values.reduce(0) { $0 + $1.filled } }) > Self.mostCells, timeline.ticks.count > 1 {
            timeline = timeline.mergedInPairs()
            histories = histories.map { $0.mergedInPairs() }
        }
        self.timeline = timeline
        (commands, rows) = (Self.sorted(histories, record), reader.rows)

        var missing: [String] = []
        if record.ended == "running" {
            missing.append(
                "The session has no end: kiln was killed, or still runs. Its tables are of the first \(seconds(record.durationS)).")
        } else if hasCommands, !record.commands.isEmpty, record.watched == nil {
            let counted = commands.map(\.calls.saturatingSum).saturatingSum, whole = record.commands.values.map(\.count).saturatingSum
            if counted != whole { missing.append("commands.jsonl has \(grouped(counted)) calls, session.json \(grouped(whole)): one of them is not complete.") }
        }
        missing += (record.watched?.words ?? []).map { $0.prefix(1).uppercased() + $0.dropFirst() + "." }
        if timeline.rows > 1, timeline.longest > 2 * timeline.tickLength {
            missing.append(
                "Intervals are up to \(seconds(timeline.longest)) long, a cell \(seconds(timeline.tickLength)): samples of a longer interval "
                    + "stand in the cell in its middle.")
        }
        if !hasCommands, record.hook != "none" {
            missing.append("There is no commands.jsonl: commands have no heatmaps.")
        }
        stacks = try Self.stacks(files, record, timeline, &trie)
        if stacks == nil || stacks?.haveTime == false {
            let reason = hasSamples ? "samples.jsonl has no samples" : "There is no samples.jsonl, which sessions of this version have"
            if stacks != nil {
                missing.append("\(reason): the flamegraph is that of the whole session, whatever time and latency are selected.")
            } else if !hasSamples {
                missing.append("\(reason): a selection has no flamegraph.")
            }
        }
        self.missing = missing
    }

    /// The stacks over time, or, of a session without samples.jsonl, those of its folded stacks; nil if there are none.
    static func stacks(_ files: some SessionFiles, _ record: SessionRecord, _ timeline: Timeline, _ trie: inout StackTrie) throws -> StackHistory? {
        var reader = StackReader(timeline: timeline, frequency: record.meanFrequency, trie: trie)
        trie = StackTrie()
        _ = try files.forEachLine(of: "samples.jsonl") { try reader.read(&$0) }
        trie = reader.trie
        if !reader.history.isEmpty { return reader.history }
        // A session in which no stack was taken has a header, and no folded stacks either.
        return reader.history.kinds.isEmpty || record.samples.onCPU.recorded > 0 ? try folded(files, record, &trie) : nil
    }

    /// The rows of commands.jsonl without their slots, for a comparison as text; nil if there is no such file.
    public static func rows(_ files: some SessionFiles) throws -> [CommandRow]? {
        var line = CommandLine(), rows: [CommandRow] = []
        let exists = try files.forEachLine(of: "commands.jsonl") { scanner in
            try line.read(&scanner)
            rows.append(line.row)
        }
        return exists ? rows : nil
    }

    /// For a comparison; rows have to be kept.
    public var recorded: SessionComparison.Recorded { .init(rows: rows, duration: record.durationS, interval: record.intervalS) }

    /// session.json.
    public static func record(_ files: some SessionFiles) throws -> SessionRecord {
        guard let bytes = try files.contents("session.json") else {
            throw ReportError("cannot read \(files.place)/session.json: No such file or directory. Give a directory that a session of kiln wrote.")
        }
        do {
            let record = try JSONDecoder().decode(SessionRecord.self, from: Data(bytes))
            guard record.durationS >= 0 else {
                throw ReportError(
                    "cannot read \(files.place)/session.json: duration_s is \(record.durationS). Give a directory that this version of kiln wrote.")
            }
            return record
        } catch let error as DecodingError {
            let reason =
                switch error {
                case .keyNotFound(let key, _): "it has no \(key.stringValue)"
                case .typeMismatch(_, let context), .valueNotFound(_, let context), .dataCorrupted(let context): context.debugDescription
                @unknown default: "\(error)"
                }
            let sentence = reason.hasSuffix(".") ? String(reason.dropLast()) : reason
            throw ReportError("cannot read \(files.place)/session.json: \(sentence). Give a directory that this version of kiln wrote.")
        }
    }

    private static func sorted(_ commands: [CommandHistory], _ record: SessionRecord) -> [CommandHistory] {
        let recorded = Dictionary(record.commands.map { (shown($0.key), $0.value) }, uniquingKeysWith: { first, _ in first })
        func time(_ command: CommandHistory) -> UInt64 {
            let phases = recorded[command.name]?.phases ?? [:]
            return phases["service"]?.sumNs ?? phases["total"]?.sumNs ?? 0
        }
        return commands.map { ($0, time($0), $0.calls.saturatingSum) }.sorted { ($1.1, $1.2, $0.0.name) < ($0.1, $0.2, $1.0.name) }.map(\.0)
    }

    /// The stacks of the whole session, of each kind that it has.
    private static func folded(_ files: some SessionFiles, _ record: SessionRecord, _ trie: inout StackTrie) throws -> StackHistory? {
        var history = FoldedHistory(trie: trie)
        let samples = record.samples
        var kinds: [(file: String, kind: StackHistory.Kind)] = [
            (StackFiles.onCPU.folded, .init(name: "on-cpu", unit: "samples", frequency: record.meanFrequency)),
            (StackFiles.offCPU.folded, .init(name: "off-cpu", unit: "nanoseconds")),
        ]
        // A name from a file must not lead out of the directory.
        for event in samples.events ?? [] where event.file.hasPrefix("stacks.") && !event.file.contains("/") {
            kinds.append((event.file, .init(name: shown(event.event), unit: event.unit == "nanoseconds" ? event.unit : "events")))
        }
        for (file, kind) in kinds {
            let byCommand = String(file.dropLast("folded".count)) + "by-command.folded"
            for (file, isByCommand) in [(byCommand, true), (file, false)] {
                guard let bytes = try files.contents(file), !bytes.isEmpty else { continue }
                try history.add(bytes, from: "\(files.place)/\(file)", kind, byCommand: isByCommand)
                break
            }
        }
        trie = history.trie
        return history.history.isEmpty ? nil : history.history
    }
}

/// Text from outside, as a page shows it.
package func shown(_ text: String) -> String { text.printable }

/// `2.52 s`
private func seconds(_ length: Double) -> String { "\(Nanoseconds(UInt64(saturating: length * 1e9)))" }
