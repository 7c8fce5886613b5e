import Flamegraph
import PrintableText

/// What the readers of profiles share: which values count, what frames are called, and what stands below them.

/// A type of values: `cpu` in `nanoseconds`.
struct ValueKind: Equatable {
    var name: String
    var unit: String

    /// Samples on a CPU.
    fileprivate var countsSamples: Bool { name == "samples" && unit == "count" }
}

extension CollapseOptions {
    /// Which of a profile's types counts: the one that is asked for, or the samples of a CPU, or else the usual one.
    ///
    /// - Parameter usual: By place; nil for the last.
    func chosen(of kinds: [ValueKind], usual: Int? = nil) throws(UnreadableInput) -> Int {
        if let wanted = events.first {
            if let place = kinds.firstIndex(where: { $0.name == wanted }) { return place }
            let names = kinds.map(\.name).joined(separator: ", ")
            throw UnreadableInput("it has no values \(wanted.printable), only \(names): name one of them with --event-filter")
        }
        if let place = kinds.firstIndex(where: \.countsSamples) { return place }
        if countsSamples, let place = kinds.firstIndex(where: { $0.unit == "count" }) { return place }
        return usual ?? kinds.count - 1
    }

    /// A frame's text in a folded stack.
    ///
    /// - Parameters:
    ///   - systemName: In files that kiln wrote, `name` with the mark of its kind, which then decides.
    ///   - file: Empty if it is not known.
    ///   - line: 0 if it is not known.
    func frame(name: String, systemName: String, _ kind: FunctionName.Kind, file: String, line: Int64) -> [UInt8] {
        let text = name.isEmpty ? systemName : name
        let written = FunctionName.Kind.allCases.first { $0 != .native && systemName == text + $0.rawValue }
        var function = FunctionName(name: demangle?(text) ?? text)
        function.kind = marked(written ?? kind)
        if showsLines, !file.isEmpty { (function.file, function.line) = (file, line > 0 ? line : nil) }
        return frameName(function.folded(withPlace: true).utf8)
    }

    /// The text of a frame without a name: `libc.so.6+0x1234`, a place in a file; with the file unknown `[unknown]`.
    func frame(_ kind: FunctionName.Kind, in file: String, at offset: UInt64) -> [UInt8] {
        let place = file.split(separator: "/").last.map { "\($0)+0x\(String(offset, radix: 16))" } ?? "[unknown]"
        return frameName((place + marked(kind).rawValue).utf8)
    }

    private func marked(_ kind: FunctionName.Kind) -> FunctionName.Kind {
        switch kind {
        case .kernel where !marksKernel, .generated where !marksJIT, .inlined where !marksInlined: .native
        default: kind
        }
    }
}

/// What stands below the frames of a sample: values that it has under some keys.
struct ProfileRoots {
    /// The first stands at the bottom.
    let keys: [String]
    private let processKey, stateKey: String

    /// - Parameters:
    ///   - process, thread, state: The keys of files that kiln wrote, which are taken where no others are asked for.
    ///   - known: All keys of the file.
    init(
        process: String, thread: String, state: String, _ options: CollapseOptions, known: () throws(UnreadableInput) -> Set<String>
    ) throws(UnreadableInput) {
        (processKey, stateKey) = (process, state)
        keys = options.labels ?? [process, thread, state]
        guard options.labels != nil else { return }
        let known = try known()
        for key in keys where !known.contains(key) {
            let list = known.sorted().joined(separator: ", ")
            throw UnreadableInput("no sample has a label \(key.printable). \(known.isEmpty ? "It has no labels" : "There are: \(list)")")
        }
    }

    /// Whether the frame at the bottom is a process.
    var beginWithProcesses: Bool { keys.first == processKey }

    func frame(_ key: String, _ value: String) -> [UInt8] { frameName((key == stateKey ? "(\(value))" : value).utf8) }
}

/// The samples of profiles, and what their values are.
struct CollapsedValues {
    /// More frames of a stack are not looked at: a file whose samples share a long stack would take time by the square of its length.
    static let mostFrames = 1 << 14

    private var unit: String?
    private var event: String?
    private var isMixed = false
    private var negative: UInt64 = 0
    private var haveProcesses = true

    var measure: Measure {
        var measure = Measure()
        measure.rootsAreProcesses = haveProcesses
        if isMixed { return measure }
        (measure.unit, measure.event) = (unit, event)
        if unit == "samples" { measure.sampleWeight = 1 }
        return measure
    }

    var notes: [String] { negative == 0 ? [] : ["\(negative) samples with negative values, of a difference of profiles, are left out"] }

    /// Notes what the values are. Inputs of different types have no unit together.
    mutating func note(_ kind: ValueKind) {
        let unit = kind.unit == "count" ? (kind.name == "samples" ? "samples" : "events") : kind.unit == "nanoseconds" ? "ns" : kind.unit
        let event = kind.name == "samples" || kind.name == "cpu" ? nil : kind.name
        if let known = self.unit, known != unit || self.event != event { isMixed = true }
        (self.unit, self.event) = (unit, event)
    }

    /// Adds a sample.
    ///
    /// - Parameters:
    ///   - frames: The innermost first.
    ///   - roots: What stands below them, the first at the bottom.
    mutating func add(_ value: Int128, _ frames: [UInt32], on roots: [UInt32], areProcesses: Bool, _ stacks: inout CollapsedStacks) {
        if value < 0 { negative += 1 }
        if value <= 0 { return }
        if roots.isEmpty || !areProcesses { haveProcesses = false }
        stacks.add(UInt64(clamping: value), frames + roots.reversed(), below: nil, hasStack: !frames.isEmpty)
    }
}
