/// How the text of other tools becomes folded stacks. The defaults give what most pictures want: names only.
public struct CollapseOptions: Sendable {
    /// Adds the process to the first frame: `java-1234`. A question mark stands for one that perf did not print.
    public var showsProcess = false
    /// Adds process and thread to the first frame: `java-1234/1240`.
    public var showsThread = false
    /// Ends frames of the kernel in `_[k]`.
    public var marksKernel = false
    /// Ends frames of code compiled at run time in `_[j]`.
    public var marksJIT = false
    /// Ends frames of inlined functions in `_[i]`, where the tool tells them apart.
    public var marksInlined = false
    /// Shows the address of a frame that has no symbol: `[libc.so.6 <7f3a…>]`.
    public var showsAddresses = false
    /// Counts only samples of these events. Without a name, those of the input's first event; the report tells what else there was.
    public var events: [String] = []
    /// Labels of samples whose values stand below the frames, the first at the bottom. Nil: those that the format has there.
    public var labels: [String]?
    /// Shows file and line of frames, where the format has them.
    public var showsLines = false
    /// What bpftrace's keys are, in their order: `kstack`, `ustack`, `comm`, `pid`, `tid`, or anything else. Without them it is what the text tells.
    public var keys: [String] = []
    /// Counts samples, whatever their periods.
    public var countsSamples = false
    /// Shows consecutive equal frames as one.
    public var mergesRecursion = false
    /// Leaves out the numbers at the end of the names of processes and threads: `worker-7` is `worker`.
    public var mergesThreads = false
    /// What a compiler's name of a function stands for in its source, for names that perf left as they were; nil for names that are none.
    public var demangle: (@Sendable (String) -> String?)?

    public init() {}
}

/// What was read, what was counted, and what was left out.
public struct CollapseReport: Sendable {
    /// An event that samples belong to.
    public struct Event: Equatable, Sendable {
        public var name: String
        public var samples: Int
        /// Whether its samples are in the result.
        public var isCounted: Bool
    }

    /// Every event of the input, in the order of appearance. Samples without the name of an event are under "".
    public internal(set) var events: [Event] = []
    /// Samples in the result.
    public internal(set) var samples = 0
    /// Samples in the result that had no stack: only their process is counted.
    public internal(set) var samplesWithoutStack = 0
    /// Lines of records that are no samples, such as `PERF_RECORD_MMAP2`.
    public internal(set) var otherRecords = 0
    /// Lines of fields that a stack doesn't need: registers, source lines, sizes of pages.
    public internal(set) var fieldLines = 0
    /// Samples that name no process and no thread; they are not in the result.
    public internal(set) var samplesWithoutThread = 0
    /// What could not be understood or counted: lines, and samples whose weight is too large. The first of them are in `rejectedLines`.
    public internal(set) var rejectedCount = 0
    public internal(set) var rejectedLines: [Line] = []
    /// Inputs that are not read, because they are damaged.
    public internal(set) var unreadableInputs: [Unreadable] = []

    /// Lines in all. Each is of one kind: of a sample, of a frame, blank, a comment, a record or a field that is left out, or not understood.
    public internal(set) var lines = 0
    public internal(set) var unreadLines = 0
    /// First lines of samples, or headers of threads.
    public internal(set) var sampleLines = 0
    public internal(set) var frameLines = 0
    public internal(set) var blankLines = 0
    public internal(set) var commentLines = 0

    /// An input of which nothing is in the result.
    public struct Unreadable: Equatable, Sendable {
        /// 0 for the first.
        public var input: Int
        public var reason: String
    }

    /// A line that could not be understood.
    public struct Line: Equatable, Sendable, CustomStringConvertible {
        /// The input the line came from: 0 for the first, 1 for the next after `endInput()`.
        public var input = 0
        /// From 1.
        public var number: Int
        public var reason: Reason
        /// The line's first bytes.
        public var excerpt: [UInt8]

        public enum Reason: String, Sendable {
            case notASample = "neither a sample nor a frame"
            case sampleWithoutThread = "a sample without the number of a process or thread, so that nobody can tell where its comm ends"
            case frameWithoutSample = "a frame without a sample before it"
            case unknown = "no line of this format"
            case incompleteFrame = "a frame that is cut off, or not of this format"
            case moreFrames = "the outer frames of this stack are left out: `bt` without a number prints all"
            case gap = "a frame whose number doesn't follow that of the frame before"
            case noWeight = "does not end in a number"
            case unknownNode = "a sample of a node that is not in the file"
            case nodeBelowItself = "a node that lies below itself"
            case malformedNumber = "a number that can't be read"
            case callWithoutCost = "a call without its cost"
            case undefinedName = "the number of a name that was not given before"
            case otherTotal = "a total that the costs of all functions don't add up to"
            case cutOff = "the file ends here, before its costs add up to its own sum: it is cut off"
            case unknownEvent = "the event that is asked for is not in this part"
            case incompleteEntry = "an entry of a map without its end"
            case negativeValue = "a negative value: no stack weighs less than nothing"
            case otherKeys = "an entry with other keys than --keys names"
            case brokenJSON = "JSON that is cut off or broken"
            case notJSON = "not the JSON of a .cpuprofile file"
            case weightTooLarge = "with this sample the weight of all would need more than 64 bits"
        }

        public var description: String { "line \(number): \(reason.rawValue): \(displayString(excerpt))" }
    }

    static let rejectedLimit = 8
    static let excerptLimit = 80

    /// Names a line that could not be understood, or what else a line says that is not in the result.
    mutating func reject(_ text: UnsafeRawBufferPointer, _ reason: Line.Reason, input: Int, line: Int, isUnread: Bool = true) {
        if isUnread { unreadLines += 1 }
        rejectedCount += 1
        guard rejectedLines.count < Self.rejectedLimit else { return }
        rejectedLines.append(.init(input: input, number: line, reason: reason, excerpt: Array(text.prefix(Self.excerptLimit))))
    }
}

/// A place in code, as `perf script` printed it.
public struct CodePlace: Equatable, Sendable {
    /// Of an instruction, or within one: newer versions of perf print where it lies in the module's file, older ones where it lay in the process.
    public var address: UInt64
    /// The function's name, without the offset.
    public var symbol: String
    /// From the function's beginning, when perf printed it.
    public var offset: UInt64?
    /// The path of the file that the code came from.
    public var module: String
}

/// A function in source code.
public struct SourceFunction: Equatable, Sendable {
    public var name: String
    /// `file:line`, or empty when it isn't to be shown.
    public var line: String

    public init(name: String, line: String = "") {
        self.name = name
        self.line = line
    }
}

/// Finds the functions that the compiler merged into the one at an address, as debug information tells.
public protocol InlineResolver: AnyObject {
    /// The functions from the outermost, which is the one that perf named, to the innermost; none when nothing is known.
    func functions(at place: CodePlace) -> [SourceFunction]
}
