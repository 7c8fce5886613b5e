import KilnModel

/// A command over time.
public struct CommandHistory: Sendable {
    public let name: String
    /// By tick.
    public internal(set) var calls, errors: [UInt64]
    /// By the name of the phase.
    public internal(set) var phases: [String: Cells] = [:]

    init(name: String, ticks: Int) {
        self.name = name
        calls = [UInt64](repeating: 0, count: ticks)
        errors = calls
    }

    /// The same with two neighbouring ticks as one.
    func mergedInPairs() -> CommandHistory {
        func pairs(_ counts: [UInt64]) -> [UInt64] { stride(from: 0, to: counts.count, by: 2).map { counts[$0..<min($0 + 2, counts.count)].saturatingSum } }
        var merged = self
        (merged.calls, merged.errors) = (pairs(calls), pairs(errors))
        merged.phases = phases.mapValues { cells in
            var sums = Cells(ticks: (cells.ticks.count + 1) / 2)
            for (tick, filled) in cells.ticks.enumerated() { sums.add(filled, to: tick / 2) }
            return sums
        }
        return merged
    }
}

/// Latencies of one command and phase: how many fell into each slot of the histogram in each tick.
public struct Cells: Sendable {
    public struct Cell: Equatable, Sendable {
        /// Of `Histogram`; `Histogram.slotCount` for what is longer.
        public var slot: Int
        public var count: UInt64
    }

    /// By tick: the slots that are not empty, lowest first.
    public private(set) var ticks: [[Cell]]
    /// The lowest and the highest slot that is not empty in any tick, and the largest count.
    public private(set) var lowest = Histogram.slotCount, highest = 0
    /// The number of cells that are not empty.
    var filled: Int { ticks.reduce(0) { $0 + $1.count } }
    public var largest: UInt64 { ticks.reduce(0) { $1.reduce($0) { max($0, $1.count) } } }

    init(ticks: Int) { self.ticks = [[Cell]](repeating: [], count: ticks) }

    /// Adds the cells of an interval, lowest slot first.
    mutating func add(_ cells: [Cell], to tick: Int) {
        guard let first = cells.first, let last = cells.last else { return }
        lowest = min(lowest, first.slot)
        highest = max(highest, last.slot)
        if ticks[tick].isEmpty { return ticks[tick] = cells }
        var merged: [Cell] = []
        merged.reserveCapacity(ticks[tick].count + cells.count)
        var rest = cells[...]
        for cell in ticks[tick] {
            while let next = rest.first, next.slot < cell.slot { merged.append(rest.removeFirst()) }
            if let next = rest.first, next.slot == cell.slot {
                // Of fewer than 2^32 each: no file is so long that their sum is too large.
                merged.append(Cell(slot: cell.slot, count: cell.count &+ next.count))
                rest.removeFirst()
            } else {
                merged.append(cell)
            }
        }
        ticks[tick] = merged + rest
    }
}

/// Reads commands.jsonl (`CommandRow`).
struct CommandReader {
    /// A server has some 250 commands, and names that clients invent have rows, too, up to the kernel side's limit.
    private static let mostCommands = 4_096
    private static let mostPhases = 32

    let timeline: Timeline
    private(set) var commands: [CommandHistory] = []
    private var places: [String: Int] = [:]
    /// By command: the time of the last interval whose calls were added; each phase's row repeats them.
    private var counted: [Int: String] = [:]
    private var row = CommandLine()
    /// For a comparison with another session: the rows without their slots.
    private let keepsRows: Bool
    private(set) var rows: [CommandRow] = []

    init(timeline: Timeline, keepsRows: Bool) {
        self.timeline = timeline
        self.keepsRows = keepsRows
    }

    /// The interval of a line of commands.jsonl or samples.jsonl; nil where it has none.
    static func interval(_ scanner: inout JSONScanner) throws -> (time: String, length: Double)? {
        var time: String?, length = 0.0
        try scanner.object { scanner, key in
            switch key {
            case "time": time = try scanner.string()
            case "interval_s": length = try scanner.number()
            default: try scanner.skip()
            }
        }
        return time.map { ($0, length) }
    }

    mutating func read(_ scanner: inout JSONScanner) throws {
        try row.read(&scanner)
        guard let tick = timeline.tick(of: row.time) else { throw JSONScanner.Damage(reason: "it has no time") }
        let place = try self.place(of: row.command)
        if counted[place] != row.time {
            counted[place] = row.time
            commands[place].calls[tick] = [commands[place].calls[tick], row.calls].saturatingSum
            commands[place].errors[tick] = [commands[place].errors[tick], row.errors].saturatingSum
        }
        if !row.cells.isEmpty {
            if commands[place].phases[row.phase] == nil, commands[place].phases.count == Self.mostPhases {
                throw JSONScanner.Damage(reason: "the command has more than \(Self.mostPhases) phases")
            }
            commands[place].phases[row.phase, default: Cells(ticks: timeline.ticks.count)].add(row.cells, to: tick)
        }
        if keepsRows { rows.append(row.row) }
    }

    private mutating func place(of command: String) throws -> Int {
        if let place = places[command] { return place }
        guard commands.count < Self.mostCommands else { throw JSONScanner.Damage(reason: "there are more than \(Self.mostCommands) commands") }
        places[command] = commands.count
        commands.append(CommandHistory(name: command, ticks: timeline.ticks.count))
        return commands.count - 1
    }
}

/// A line of commands.jsonl.
struct CommandLine {
    private(set) var time = "", command = "", phase = ""
    /// `calls`: where a part was watched, the estimate of all.
    private(set) var calls: UInt64 = 0, errors: UInt64 = 0
    private(set) var cells: [Cells.Cell] = []
    private var length = 0.0
    private var pid: Int32 = 0
    private var latency = LatencyRecord(Histogram())

    /// As a row without its slots.
    var row: CommandRow {
        CommandRow(time: time, intervalS: length, pid: pid, command: command, phase: phase, calls: calls, errors: errors, latency: latency)
    }

    mutating func read(_ scanner: inout JSONScanner) throws {
        (time, command, phase) = ("", "", "")
        (length, pid, calls, errors) = (0, 0, 0, 0)
        cells.removeAll(keepingCapacity: true)
        latency = LatencyRecord(Histogram())
        var counted = UInt64(0), estimate: UInt64?
        try scanner.object { scanner, key in
            switch key {
            case "time": time = try scanner.string()
            case "interval_s": length = try scanner.number()
            case "pid": pid = Int32(clamping: try scanner.integer())
            case "command": command = shown(try scanner.string())
            case "phase": phase = shown(try scanner.string())
            case "calls": counted = try scanner.unsigned()
            case "calls_estimate": estimate = try scanner.unsigned()
            case "errors": errors = try scanner.unsigned()
            case "count": latency.count = try scanner.unsigned()
            case "p50_ns": latency.p50Ns = try scanner.unsigned()
            case "p99_ns": latency.p99Ns = try scanner.unsigned()
            case "slots": try readSlots(&scanner)
            default: try scanner.skip()
            }
        }
        calls = estimate ?? counted
        for (name, text) in [("time", time), ("command", command), ("phase", phase)] where text.isEmpty {
            throw JSONScanner.Damage(reason: "it has no \(name)")
        }
    }

    /// [[lower_ns, upper_ns, count], …]
    private mutating func readSlots(_ scanner: inout JSONScanner) throws {
        try scanner.array { scanner in
            var values = (lower: UInt64(0), count: UInt64(0)), place = 0
            try scanner.array { scanner in
                let value = try scanner.unsigned()
                if place == 0 { values.lower = value } else if place == 2 { values.count = value }
                place += 1
            }
            let cell = Cells.Cell(slot: Histogram.slot(of: Nanoseconds(values.lower)), count: values.count)
            guard place == 3, cell.count <= UInt64(UInt32.max), cell.slot > cells.last?.slot ?? -1 else {
                throw JSONScanner.Damage(reason: "its slots are not in order, or not [lower_ns, upper_ns, count]")
            }
            if cell.count > 0 { cells.append(cell) }
        }
    }
}
