/// The lines of samples.jsonl: when each stack was taken, by interval. A table of frames, stacks and groups comes first, each numbered from 0 in the order
/// of its lines, then a line for each interval that has samples.

/// The first line.
public struct SampleHeader: Codable, Sendable {
    public struct Kind: Codable, Equatable, Sendable {
        /// `on-cpu`, `off-cpu` or the name of an event.
        public var kind: String
        /// `samples`, `nanoseconds` or `events`.
        public var unit: String
        /// What is in no interval, because there was no room; in the unit, of all targets of the session.
        public var dropped: UInt64

        public init(kind: String, unit: String, dropped: UInt64) {
            self.kind = kind
            self.unit = unit
            self.dropped = dropped
        }
    }

    /// The version of the format.
    public var samples = 1
    /// Of the latency histogram, in a band of a group.
    public var slotsPerBand = LatencyBand.slotsPerBand
    public var kinds: [Kind]

    enum CodingKeys: String, CodingKey {
        case samples, kinds
        case slotsPerBand = "slots_per_band"
    }

    public init(kinds: [Kind]) { self.kinds = kinds }
}

/// A program or library that has the code of frames.
public struct SampleModule: Codable, Hashable, Sendable {
    /// As the process sees it.
    public var module: String
    /// Hexadecimal.
    public var buildID: String?

    enum CodingKeys: String, CodingKey {
        case module
        case buildID = "build_id"
    }

    public init(path: String, buildID: String?) {
        module = path
        self.buildID = buildID
    }
}

/// The files of a session's frames, each once.
public struct SessionModules: Sendable {
    public private(set) var modules: [SampleModule] = []
    private var numbers: [SampleModule: Int32] = [:]

    public init() {}

    public mutating func number(of module: SampleModule) -> Int32 {
        if let known = numbers[module] { return known }
        let number = Int32(modules.count)
        numbers[module] = number
        modules.append(module)
        return number
    }
}

/// A frame's text, as in folded stacks.
public struct SampleFrame: Codable, Hashable, Sendable {
    public var frame: String
    /// The number of its module. Nil: the frame is in the kernel or in generated code, or its file is not known.
    public var of: Int?
}

/// A stack: its caller's stack and one more frame.
public struct SampleStack: Codable, Equatable, Hashable, Sendable {
    /// The number of the stack without its innermost frame; -1: it has no other frame.
    public var caller: Int
    /// The number of the innermost frame.
    public var `in`: Int
}

/// Stacks of one group differ only in their frames.
public struct SampleGroup: Codable, Equatable, Hashable, Sendable {
    /// As in the first line.
    public var kind: String
    public var process: String
    /// Only where threads were asked for.
    public var thread: String?
    /// A command, or in brackets what else the thread worked on; nil where stacks have no labels.
    public var command: String?
    /// `exec`, `reply` or `read`; nil unless it is a command's.
    public var phase: String?
    /// `slow` or `fast`, where only some calls' stacks were kept.
    public var verdict: String?
    /// [lower, upper) of the call's `service`; the upper one is nil for what the histogram doesn't reach. Nil: the latency is not known.
    public var bandNs: [UInt64?]?
    /// Of waits.
    public var state: String?

    enum CodingKeys: String, CodingKey {
        case kind, process, thread, command, phase, verdict, state
        case bandNs = "band_ns"
    }

    struct Line: Codable { var group: SampleGroup }
}

/// What an interval has: for each group a list of its number and then, in turn, the number of a stack and its weight.
public struct SampleRow: Codable, Equatable, Sendable {
    /// Wall-clock time of the interval's end, RFC 3339: that of the other rows of the interval.
    public var time: String
    public var intervalS: Double
    public var samples: [[UInt64]]

    enum CodingKeys: String, CodingKey {
        case time, samples
        case intervalS = "interval_s"
    }
}

/// The content of samples.jsonl.
public struct SampleRecords: Sendable {
    public var header: SampleHeader
    public private(set) var modules = SessionModules()
    public private(set) var frames: [SampleFrame] = []
    public private(set) var stacks: [SampleStack] = []
    public private(set) var groups: [SampleGroup] = []
    public private(set) var rows: [SampleRow] = []

    private var frameNumbers: [SampleFrame: Int] = [:]
    private var stackNumbers: [SampleStack: Int] = [:]
    private var groupNumbers: [SampleGroup: Int] = [:]

    /// - Parameters:
    ///   - kinds: The name and unit of each kind of stacks.
    ///   - named: The stacks to be shown; what is not among them is left out.
    ///   - modules: Of the numbers that stacks have.
    public init(
        _ history: SampleHistory, kinds: [StackKind: (name: String, unit: String)], named: [NamedStack], modules: [SampleModule] = []
    ) {
        header = SampleHeader(
            kinds: kinds.sorted { $0.key.rawValue < $1.key.rawValue }.map { kind, described in
                .init(kind: described.name, unit: described.unit, dropped: history.dropped[kind] ?? 0)
            })
        let places = named.reduce(into: [SampleHistory.Series: NamedStack]()) { places, stack in
            if let key = stack.key { places[.init(key: key, state: stack.state)] = stack }
        }
        // Numbered where they are first met, so that the file tells of nothing that has no sample.
        var numbers: [Int: (group: Int, stack: Int)] = [:]
        for interval in history.intervals {
            var samples: [Int: [Int: UInt64]] = [:]
            for growth in history.growth[interval.range] {
                let series = history.series[growth.series]
                if numbers[growth.series] == nil {
                    guard let stack = places[series], let kind = kinds[series.key.kind] else { continue }
                    numbers[growth.series] = (number(SampleGroup(stack, kind: kind.name)), number(stack, modules))
                }
                guard let (group, stack) = numbers[growth.series] else { continue }
                samples[group, default: [:]][stack, default: 0] += growth.weight
            }
            if samples.isEmpty { continue }
            let lists = samples.sorted { $0.key < $1.key }.map { group, weights in
                [UInt64(group)] + weights.sorted { $0.key < $1.key }.flatMap { [UInt64($0.key), $0.value] }
            }
            rows.append(SampleRow(time: interval.time, intervalS: interval.length.seconds, samples: lists))
        }
    }

    /// Leaves out other intervals. The tables stay as they are.
    public mutating func keepRows(_ isKept: (SampleRow) -> Bool) { rows.removeAll { !isKept($0) } }

    private mutating func number(_ group: SampleGroup) -> Int {
        if let known = groupNumbers[group] { return known }
        groupNumbers[group] = groups.count
        groups.append(group)
        return groups.count - 1
    }

    private mutating func number(_ stack: NamedStack, _ modules: [SampleModule]) -> Int {
        var caller = -1
        for (place, name) in stack.frames.split(separator: ";", omittingEmptySubsequences: false).enumerated() {
            let module = stack.modules.indices.contains(place) ? Int(stack.modules[place]) : -1
            let frame = SampleFrame(frame: String(name), of: modules.indices.contains(module) ? Int(self.modules.number(of: modules[module])) : nil)
            let stack = SampleStack(caller: caller, in: number(frame))
            if let known = stackNumbers[stack] {
                caller = known
            } else {
                caller = stacks.count
                stackNumbers[stack] = caller
                stacks.append(stack)
            }
        }
        return caller
    }

    private mutating func number(_ frame: SampleFrame) -> Int {
        if let known = frameNumbers[frame] { return known }
        frameNumbers[frame] = frames.count
        frames.append(frame)
        return frames.count - 1
    }

    /// The groups as they are in their lines.
    public var groupLines: [some Encodable] { groups.map { SampleGroup.Line(group: $0) } }
}

extension SampleGroup {
    init(_ stack: NamedStack, kind: String) {
        self.kind = kind
        // Neither holds a semicolon: both are texts of folded stacks.
        let root = stack.root.split(separator: ";", maxSplits: 1, omittingEmptySubsequences: false)
        process = root.first.map(String.init) ?? ""
        thread = root.dropFirst().first.map(String.init)
        command = stack.work.subject == .unlabelled ? nil : stack.work.name
        phase = stack.work.phase?.rawValue
        verdict = stack.work.verdict?.rawValue
        bandNs = stack.key?.band.map { [$0.lower.count, $0.upper?.count] }
        state = stack.state?.name
    }
}
