import FoundationEssentials
import KilnModel
import KilnSessions

/// What a page shows besides its cells and stacks, as JSON. Names and words are printable already.
struct PageData: Encodable {
    var title: String
    /// One, or two that are compared: before and after.
    var sessions: [SessionData]
    var comparison: ComparisonData?
    var glossary: [[String]]
    /// kiln's version.
    var version: String
}

struct SessionData: Encodable {
    struct Ticks: Encodable {
        /// Milliseconds since 1970.
        var start: Double
        /// In turn for each tick: how many milliseconds after `start` it begins, and how long it is.
        var times: [Int]
        var rows: Int
        var intervalsPerTick: Int
    }

    struct Command: Encodable {
        var name: String
        /// By tick.
        var calls, errors: [UInt64]
        var phases: [PhaseData]
    }

    /// Its cells are a block of their own.
    struct PhaseData: Encodable {
        var name: String
        /// Slots of the histogram, and the largest count.
        var lowest, highest: Int
        var largest: UInt64
    }

    struct Kind: Encodable {
        var name, unit: String
        var frequency: Double?
        var dropped: UInt64
    }

    /// The server, its process, or what was recorded.
    var title: String
    var started: String
    /// The length of the session.
    var seconds: Double
    var facts: [[String]]
    var missing: [String]
    var ticks: Ticks
    var commands: [Command]
    var kinds: [Kind]
    /// Words of groups; 0 is none.
    var words: [String]
    /// Eight numbers for each group: kind, process, thread, command, phase, verdict, state (words), and one more than the band, or 0.
    var groups: [Int]
    /// The processes whose stacks are of no command, the heaviest first: those that have a heatmap.
    var processes: [String]
    /// False: stacks are those of the whole session.
    var stacksHaveTime: Bool
    var hasStacks: Bool
    var tables: [TableData]
}

extension SessionData {
    init(_ session: ReportSession, title: String, facts: [[String]], tables: [TableData]) {
        self.title = title
        self.facts = facts
        self.tables = tables
        started = shown(session.record.started)
        seconds = session.record.durationS
        missing = session.missing
        let timeline = session.timeline
        let start = timeline.ticks.first?.start ?? WallClock.seconds(session.record.started) ?? 0
        ticks = Ticks(
            start: (start * 1000).rounded(), times: timeline.ticks.flatMap { [milliseconds($0.start - start), milliseconds($0.end - $0.start)] },
            rows: timeline.rows, intervalsPerTick: timeline.intervalsPerTick)
        commands = session.commands.map { command in
            Command(
                name: command.name, calls: command.calls, errors: command.errors,
                phases: Self.sorted(command.phases).map { PhaseData(name: $0, lowest: $1.lowest, highest: $1.highest, largest: $1.largest) })
        }
        kinds = (session.stacks?.kinds ?? []).map { Kind(name: $0.name, unit: $0.unit, frequency: $0.frequency, dropped: $0.dropped) }
        var table = [""], places = ["": 0]
        func word(_ text: String?) -> Int {
            guard let text else { return 0 }
            if let place = places[text] { return place }
            places[text] = table.count
            table.append(text)
            return table.count - 1
        }
        groups = (session.stacks?.groups ?? []).flatMap { group in
            [
                group.kind, word(group.process), word(group.thread), word(group.command), word(group.phase), word(group.verdict), word(group.state),
                group.band.map { $0 + 1 } ?? 0,
            ]
        }
        words = table
        processes = Self.processes(session.stacks)
        hasStacks = session.stacks != nil
        stacksHaveTime = session.stacks?.haveTime ?? false
    }

    /// Of a host with hundreds of processes, the lightest have none.
    private static let mostProcesses = 50

    /// By the weight of their first kind of stacks.
    private static func processes(_ stacks: StackHistory?) -> [String] {
        var weights: [String: UInt64] = [:]
        for (group, entries) in zip(stacks?.groups ?? [], stacks?.entries ?? []) where group.command == nil {
            let weight = group.kind == 0 ? entries.lazy.map(\.weight).saturatingSum : 0
            weights[group.process] = [weights[group.process] ?? 0, weight].saturatingSum
        }
        return weights.sorted { ($1.value, $0.key) < ($0.value, $1.key) }.prefix(mostProcesses).map(\.key)
    }

    /// In the order of `Phase`; those of later versions follow.
    static func sorted(_ phases: [String: Cells]) -> [(name: String, cells: Cells)] {
        let known = Phase.allCases.map(\.rawValue)
        func rank(_ name: String) -> Int { known.firstIndex(of: name) ?? known.count }
        return phases.map { ($0.key, $0.value) }.sorted { (rank($0.0), $0.0) < (rank($1.0), $1.0) }
    }
}

private func milliseconds(_ seconds: Double) -> Int { Int((min(max(seconds, -1e12), 1e12) * 1000).rounded()) }

/// What moved from one session to the other.
struct ComparisonData: Encodable {
    /// The table of the numbers that moved beyond noise.
    var moved: TableData
    var remarks: [String]
}

/// A table of a session.
struct TableData: Encodable {
    struct Column: Encodable {
        var name: String
        /// What the number is.
        var definition: String
        /// `text`, or how numbers are shown: `count`, `ns`, `share`, `rate`, `bytes`, `change`.
        var kind: String
    }

    enum Value: Encodable {
        case none
        case text(String)
        case number(Double)
        /// A number that sorts, and the text that stands for it: the column has numbers of several units.
        case measured(Double, String)

        func encode(to encoder: any Encoder) throws {
            switch self {
            case .none:
                var container = encoder.singleValueContainer()
                try container.encodeNil()
            case .text(let text):
                var container = encoder.singleValueContainer()
                try container.encode(shown(text))
            case .measured(let number, let text):
                var pair = encoder.unkeyedContainer()
                try pair.encode(number)
                try pair.encode(shown(text))
            case .number(let number):
                var container = encoder.singleValueContainer()
                if number.isFinite { try container.encode(number) } else { try container.encodeNil() }
            }
        }
    }

    var title: String
    /// What the table is about; shown below the title.
    var about = ""
    var columns: [Column]
    var rows: [[Value]]
    /// Below the table.
    var notes: [String] = []
}

extension TableData.Value {
    static func count(_ count: UInt64?) -> Self { count.map { .number(Double($0)) } ?? .none }
    static func number(_ number: Double?) -> Self { number.map { .number($0) } ?? .none }
    static func text(_ text: String?) -> Self { text.map { .text($0) } ?? .none }
}
