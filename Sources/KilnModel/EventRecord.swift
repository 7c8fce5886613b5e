import KilnBPF

/// An event of a session, as its outputs name it.
public struct RecordedEvent: Equatable, Sendable {
    /// `sched:sched_switch`, `page-faults`.
    public let name: String
    /// The name as a part of file names; no two events of a session have the same.
    public let fileName: String
    /// A stack is taken at each one of so many.
    public let every: UInt64
    /// The number is the sum of the periods of a counter of the hardware.
    public let isEstimate: Bool
    /// What a stack weighs.
    public let unit: Unit

    public enum Unit: String, Sendable { case events, nanoseconds }

    public init(name: String, fileName: String, every: UInt64, isEstimate: Bool = false, unit: Unit = .events) {
        self.name = name
        self.fileName = fileName
        self.every = every
        self.isEstimate = isEstimate
        self.unit = unit
    }
}

/// The numbers of one event.
public struct EventCount: Equatable, Sendable {
    /// How often it happened.
    public var happened: UInt64 = 0
    public var stacks = SampleCounts()

    public init() {}
}

/// The numbers of the events of a session, in their order.
public struct EventCounts: SnapshotSection {
    public var events: [EventCount]

    public init(events: [EventCount]) { self.events = events }

    public func since(_ earlier: EventCounts?) -> EventCounts {
        EventCounts(
            events: events.enumerated().map { index, now in
                guard let before = earlier.flatMap({ index < $0.events.count ? $0.events[index] : nil }) else { return now }
                var growth = EventCount()
                growth.happened = now.happened &- before.happened
                growth.stacks = now.stacks.since(before.stacks)
                return growth
            })
    }
}

extension Snapshot {
    /// Puts the numbers of stacks of all targets into the first element: they are one.
    public mutating func addUpStacks() {
        func sum(_ counts: [SampleCounts]) -> [SampleCounts] { [counts.reduce(into: SampleCounts()) { $0.add($1) }] }
        samples = sum(samples)
        otherSamples = sum(otherSamples)
        if let waits = self[OffCPUCounts.self] {
            self[OffCPUCounts.self] = OffCPUCounts(targets: sum(waits.targets), descendants: sum(waits.descendants))
        }
    }
}

extension SessionRecord {
    /// An event and its stacks, those of all processes of the session.
    public struct Event: Codable, Sendable {
        public var event: String
        /// The file with its stacks; the picture has the same name.
        public var file: String
        /// The meaning of a count in that file.
        public var unit = "events"
        /// How often it happened; the sum of its nanoseconds where that is the unit.
        public var count: UInt64
        /// True: the sum of the periods of a counter of the hardware. Otherwise absent: it is exact.
        public var isEstimate: Bool?
        /// A stack was taken at each one of so many, and has that weight.
        public var every: UInt64
        public var recorded: UInt64
        /// As of on-CPU samples.
        public var kept: UInt64?
        public var leftOut: LeftOutCounts?
        /// Recorded stacks that reach the outermost function.
        public var complete: UInt64
        /// The same by unwind termination; only those that occurred.
        public var ends: [String: UInt64]
        /// Recorded stacks with callers that are guesses. Absent if there are none.
        public var guessed: UInt64?
        /// Stacks that were due, and were neither recorded nor left out.
        public var lost: UInt64
        public var names: NamesRecord?

        enum CodingKeys: String, CodingKey {
            case event, file, unit, count, every, recorded, kept, complete, ends, guessed, lost, names, leftOut = "left_out", isEstimate = "is_estimate"
        }

        public init(_ event: RecordedEvent, _ counts: EventCount) {
            self.event = event.name
            file = StackFiles(event).folded
            unit = event.unit.rawValue
            count = counts.happened
            isEstimate = event.isEstimate ? true : nil
            every = event.every
            recorded = counts.stacks.recorded
            kept = counts.stacks.kept
            leftOut = counts.stacks.leftOutOfKept
            complete = counts.stacks.complete
            ends = counts.stacks.terminationsByName
            guessed = counts.stacks.guessedIfAny
            let due = event.isEstimate || event.unit == .nanoseconds ? counts.stacks.seen : counts.happened / max(event.every, 1)
            // The numbers are not read at one moment.
            let known = recorded &+ counts.stacks.leftOut.sum
            lost = due > known ? due - known : 0
        }
    }
}

/// The files of a session with stacks of one kind.
public struct StackFiles: Equatable, Sendable {
    public let folded: String
    public let picture: String
    /// The stacks by command; nil for a kind that is not kept by command.
    public private(set) var byCommand: String?

    public static let onCPU = StackFiles(folded: "stacks.folded", picture: "flamegraph.svg", byCommand: "stacks.by-command.folded")
    public static let offCPU = StackFiles(folded: "stacks.off-cpu.folded", picture: "off-cpu.svg", byCommand: "stacks.off-cpu.by-command.folded")
    public static let wakers = StackFiles(folded: "stacks.wakers.folded", picture: "wakers.svg")

    public init(_ event: RecordedEvent) {
        self.init(
            folded: "stacks.\(event.fileName).folded", picture: "\(event.fileName).svg", byCommand: "stacks.\(event.fileName).by-command.folded")
    }

    private init(folded: String, picture: String, byCommand: String? = nil) {
        self.folded = folded
        self.picture = picture
        self.byCommand = byCommand
    }
}
