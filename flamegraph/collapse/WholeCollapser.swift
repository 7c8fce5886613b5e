/// Understands a format whose inputs are read as a whole, such as binary ones.
public protocol WholeReader {
    /// What the numbers of the result are.
    var measure: Measure { get }
    /// What a reader of the result should know, as comments.
    var notes: [String] { get }
    /// Adds the samples of an input, or none if it is damaged.
    mutating func read(_ input: [UInt8], _ stacks: inout CollapsedStacks) throws(UnreadableInput)
}

/// Why an input can't be read, in words that go on after "cannot read it: ".
public struct UnreadableInput: Error {
    public var reason: String

    public init(_ reason: String) { self.reason = reason }
}

/// Reads whole inputs of one format.
final class WholeCollapser<Reader: WholeReader>: Collapser {
    private var reader: Reader
    private var stacks: CollapsedStacks
    private var pending: [UInt8] = []

    init(_ reader: Reader, _ options: CollapseOptions) {
        self.reader = reader
        stacks = CollapsedStacks(options)
    }

    func read(_ piece: UnsafeRawBufferPointer) { pending.append(contentsOf: piece) }

    func endInput() {
        let input = pending
        pending = []
        do throws(UnreadableInput) {
            try reader.read(input, &stacks)
        } catch {
            stacks.report.unreadableInputs.append(.init(input: stacks.input, reason: error.reason))
        }
        stacks.input += 1
    }

    func finish() {}

    var report: CollapseReport { stacks.report }
    var measure: Measure { reader.measure }
    var notes: [String] { reader.notes }
    func writeFolded(_ write: ([UInt8]) throws -> Void) throws { try stacks.writeFolded(write) }
}
