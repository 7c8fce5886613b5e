import KilnModel

/// A session's stacks with all that its files say of them: each interval by itself, and frames of one name in two modules as two.
public struct SessionSamples: Sendable {
    public let record: SessionRecord
    public let timeline: Timeline
    /// Nil if there are none.
    public let stacks: StackHistory?
    public let trie: StackTrie

    /// - Throws: `ReportError`, and what `files` throws.
    public init(_ files: some SessionFiles) throws {
        record = try ReportSession.record(files)
        var intervals = Timeline.Intervals()
        _ = try files.forEachLine(of: "samples.jsonl") { scanner in
            if let (time, length) = try CommandReader.interval(&scanner) { try intervals.add(time, length: length) }
        }
        timeline = Timeline(eachOf: intervals)
        var trie = StackTrie(tellsModules: true)
        stacks = try ReportSession.stacks(files, record, timeline, &trie)
        self.trie = trie
    }
}
