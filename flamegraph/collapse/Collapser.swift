/// Reads what another tool printed and adds up equal stacks.
///
/// Feed the text in pieces of any size with `read`, call `endInput` after each input and `finish` after the last one, then take the folded
/// text.
public protocol Collapser: AnyObject {
    func read(_ piece: UnsafeRawBufferPointer)
    func endInput()
    func finish()
    /// What was read, what was counted, and what was left out.
    var report: CollapseReport { get }
    /// What the numbers in the result are.
    var measure: Measure { get }
    /// What a reader of the result should know besides.
    var notes: [String] { get }
    func writeFolded(_ write: ([UInt8]) throws -> Void) throws
}

/// A format that can be collapsed. Each has a file of its own in this folder.
public struct CollapseFormat: Sendable {
    /// What one calls it: `kiln collapse NAME`.
    public var name: String
    /// What prints it.
    public var title: String
    /// What a person does whose input holds nothing of it.
    public var advice: String
    /// The switches that mean something here, besides those that all formats know.
    public var switches: Set<Switch>
    /// Whether a text, of which these are the first lines, is of this format.
    var recognizes: @Sendable ([ArraySlice<UInt8>]) -> Bool
    /// Whether an input that begins so is of this format; of formats that are no text.
    var recognizesBytes: @Sendable ([UInt8]) -> Bool = { _ in false }
    public var collapser: @Sendable (CollapseOptions, InlineResolver?) -> any Collapser

    public enum Switch: String, Sendable, CaseIterable {
        case pid, tid, kernel, jit, all, count, addrs, inline, context, labels, lines, keys
        case eventFilter = "event-filter"
        case mergeThreads = "merge-threads"
    }

    /// In the order in which they are guessed: those with the plainest marks first.
    public static let all: [CollapseFormat] = [.bpftrace, .cpuprofile, .callgrind, .jstack, .euStack, .gdb, .perf, .folded]

    /// How much of a text is enough to tell its format.
    public static let beginningLength = 1 << 18

    /// The format of an input that begins so.
    public static func guess(_ beginning: [UInt8], among formats: [CollapseFormat] = all) -> CollapseFormat? {
        if let format = formats.first(where: { $0.recognizesBytes(beginning) }) { return format }
        var lines = beginning.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: true)
        // Cut somewhere.
        if beginning.count >= beginningLength, lines.count > 1 { lines.removeLast() }
        if let first = lines.first, first.starts(with: [0xef, 0xbb, 0xbf]) { lines[0] = first.dropFirst(3) }
        return formats.first { $0.recognizes(lines) }
    }
}

extension CollapseFormat {
    /// A format that is no text, and is read as a whole.
    public init(
        name: String, title: String, advice: String, switches: Set<Switch>, recognizes: @escaping @Sendable ([UInt8]) -> Bool,
        reader: @escaping @Sendable (CollapseOptions) -> some WholeReader
    ) {
        self.init(
            name: name, title: title, advice: advice, switches: switches, recognizes: { _ in false }, recognizesBytes: recognizes,
            collapser: { options, _ in WholeCollapser(reader(options), options) })
    }
}
