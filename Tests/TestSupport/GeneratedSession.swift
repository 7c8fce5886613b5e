import Foundation

/// The files of a session that nobody recorded: commands with latencies, and stacks by command, phase and band of latency. The same settings give the same
/// bytes.
public struct GeneratedSession: Sendable {
    public var seconds = 60
    public var commands = 6
    /// Different stacks that are sampled.
    public var stacks = 400
    public var frequency = 99
    public var hasOffCPU = false
    public var hasThreads = false
    /// Seconds of the session in which EVAL, the second command, takes twenty times as long, in `slowFunction`.
    public var slowSeconds: ClosedRange<Int>? = nil
    public static let slowFunction = "luaSlowLoop"
    public var seed: UInt64 = 1
    /// Multiplies the latencies of all commands.
    public var factor = 1.0

    public init() {}

    /// The end of the first second is one after this.
    public static let start = 1_796_040_000
    public static let names = [
        "GET", "EVAL", "SET", "ZADD", "LPUSH", "HGETALL", "SORT", "INCR", "MGET", "SADD", "LRANGE", "EXPIRE", "DEL", "HSET", "ZRANGE", "PUBLISH", "XADD",
        "SCAN", "EXISTS",
        "TTL",
    ]
    static let phases = ["service", "queue", "exec", "reply", "total"]

    public func write(to directory: URL) throws {
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        var random = SeededGenerator(seed: seed)
        var totals: [Int: Total] = [:]
        let rows = try FileText(directory.appendingPathComponent("commands.jsonl"))
        let samples = try FileText(directory.appendingPathComponent("samples.jsonl"))
        let tree = StackTree(stacks: stacks, commands: commands, &random)
        var groups = Groups(self)
        var intervals: [String] = []
        for second in 0..<seconds {
            let time = Self.time(second + 1)
            var bands: [[(band: Int, count: Int)]] = []
            for command in 0..<commands {
                let calls = calls(of: command, in: second, &random)
                var service: [(slot: Int, count: Int)] = []
                for (phase, name) in Self.phases.enumerated() {
                    let slots = slots(calls, around: latency(of: command, phase, in: second), &random)
                    if phase == 0 { service = slots }
                    totals[command, default: Total()].add(slots, phase, calls: phase == 0 ? calls : 0)
                    try rows.write(Self.row(time, command: Self.name(command), phase: name, calls: calls, slots))
                }
                bands.append(Dictionary(service.map { ($0.slot / 8, $0.count) }, uniquingKeysWith: +).sorted { $0.key < $1.key }.map { ($0.key, $0.value) })
            }
            intervals.append(sampled(second, time, bands, tree, &groups, &random))
        }
        try samples.write(
            "{\"samples\":1,\"slots_per_band\":8,\"kinds\":[{\"kind\":\"on-cpu\",\"unit\":\"samples\",\"dropped\":0},{\"kind\":\"off-cpu\",\"unit\":\"nanoseconds\",\"dropped\":0}]}\n"
        )
        for frame in tree.frames { try samples.write("{\"frame\":\"\(frame)\"}\n") }
        for stack in tree.table { try samples.write("{\"caller\":\(stack.caller),\"in\":\(stack.frame)}\n") }
        for group in groups.lines { try samples.write(group) }
        for interval in intervals { try samples.write(interval) }
        try rows.close()
        try samples.close()
        try Data(record(totals).utf8).write(to: directory.appendingPathComponent("session.json"))
    }

    static func name(_ command: Int) -> String { command < names.count ? names[command] : "CMD\(command)" }

    /// Of the end of an interval.
    public static func time(_ second: Int) -> String {
        let moment = start + second
        let day = moment % 86_400
        func two(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
        return "2026-11-30T\(two(day / 3600)):\(two(day / 60 % 60)):\(two(day % 60)).000Z"
    }

    private func calls(of command: Int, in second: Int, _ random: inout SeededGenerator) -> Int {
        let usual = 12_000 / (1 + command * command)
        return usual * 3 / 4 + Int.random(in: 0...(usual / 2 + 1), using: &random)
    }

    /// In nanoseconds.
    private func latency(of command: Int, _ phase: Int, in second: Int) -> Double {
        let exec = 2_000.0 * pow(1.9, Double(command % 12)) * factor * (command == 1 && slowSeconds?.contains(second) == true ? 20 : 1)
        return [exec * 1.6, 9_000 + exec * 0.5, exec, exec * 0.5, exec * 2 + 9_000][phase] * (1 + 0.25 * sin(Double(second) / 9))
    }

    /// Counts of slots, log-normal.
    private func slots(_ calls: Int, around middle: Double, _ random: inout SeededGenerator) -> [(slot: Int, count: Int)] {
        let center = Double(Self.slot(UInt64(middle)))
        var counts: [Int: Int] = [:]
        let spread = 7.0
        if calls < 40 {
            for _ in 0..<calls { counts[max(0, Int(center + spread * Self.normal(&random))), default: 0] += 1 }
        } else {
            for offset in -24...30 {
                let share = exp(-pow(Double(offset) / spread, 2) / 2) / (spread * 2.5066)
                let expected = Double(calls) * share
                let count = Int((expected + expected.squareRoot() * Self.normal(&random)).rounded())
                if count > 0 { counts[max(0, Int(center) + offset), default: 0] += count }
            }
            counts[Int(center) + 50 + Int.random(in: 0..<20, using: &random), default: 0] += 1
        }
        return counts.filter { $0.key < 528 }.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
    }

    private static func normal(_ random: inout SeededGenerator) -> Double {
        let one = Double.random(in: 1e-9...1, using: &random), other = Double.random(in: 0...1, using: &random)
        return (-2 * log(one)).squareRoot() * cos(2 * .pi * other)
    }

    /// As kiln_histogram.h defines it.
    public static func slot(_ ns: UInt64) -> Int {
        if ns < 16 { return Int(ns) }
        if ns >= 1 << 36 { return 528 }
        let exponent = 63 - ns.leadingZeroBitCount
        return 16 * (exponent - 3) + Int(ns >> UInt64(exponent - 4)) - 16
    }

    public static func lower(_ slot: Int) -> UInt64 { slot < 16 ? UInt64(slot) : UInt64(16 + slot % 16) << UInt64(slot / 16 - 1) }

    private static func row(_ time: String, command: String, phase: String, calls: Int, _ slots: [(slot: Int, count: Int)]) -> String {
        let count = slots.reduce(0) { $0 + $1.count }
        func percentile(_ share: Double) -> UInt64 {
            var reached = 0
            for (slot, number) in slots {
                reached += number
                if Double(reached) >= share * Double(count) { return (lower(slot) + lower(slot + 1)) / 2 }
            }
            return 0
        }
        let text = slots.map { "[\(lower($0.slot)),\(lower($0.slot + 1)),\($0.count)]" }.joined(separator: ",")
        return """
            {"calls":\(calls),"command":"\(command)","count":\(count),"errors":\(command == "EVAL" ? calls / 100 : 0),"interval_s":1,"max_is_upper_bound":true,\
            "max_ns":\(slots.last.map { lower($0.slot + 1) } ?? 0),"p50_ns":\(percentile(0.5)),"p90_ns":\(percentile(0.9)),"p99_9_ns":\(percentile(0.999)),\
            "p99_ns":\(percentile(0.99)),"phase":"\(phase)","pid":4711,"slots":[\(text)],"sum_ns":\(percentile(0.5) * UInt64(count)),"time":"\(time)"}

            """
    }

    /// The line of an interval: the samples go to commands by the time that they take.
    private func sampled(
        _ second: Int, _ time: String, _ bands: [[(band: Int, count: Int)]], _ tree: StackTree, _ groups: inout Groups, _ random: inout SeededGenerator
    ) -> String {
        var counted: [Int: [Int: UInt64]] = [:]
        let work = (0..<commands).map { command in bands[command].reduce(0.0) { $0 + Double($1.count) * Double(Self.lower($1.band * 8)) } }
        let all = work.reduce(0, +)
        for _ in 0..<frequency {
            var rest = Double.random(in: 0..<1, using: &random) * all * 1.1
            guard
                let command = work.firstIndex(where: { share in
                    rest -= share; return rest < 0
                })
            else {
                counted[groups.number(kind: "on-cpu", command: "[event loop]", phase: nil, band: nil, state: nil, &random), default: [:]][
                    tree.loop, default: 0] += 1
                continue
            }
            var ahead = Double.random(in: 0..<1, using: &random) * work[command]
            let band =
                bands[command].first {
                    ahead -= Double($0.count) * Double(Self.lower($0.band * 8)); return ahead < 0
                }?.band ?? 0
            let phase = ["exec", "exec", "exec", "reply", "read"][Int.random(in: 0..<5, using: &random)]
            let isSlow = command == 1 && phase == "exec" && slowSeconds?.contains(second) == true
            let stack = isSlow ? tree.slow : tree.stack(of: command, &random)
            let known = Int.random(in: 0..<20, using: &random) == 0 ? nil : band
            counted[groups.number(kind: "on-cpu", command: Self.name(command), phase: phase, band: known, state: nil, &random), default: [:]][
                stack, default: 0] += 1
            if hasOffCPU, Int.random(in: 0..<3, using: &random) == 0 {
                let state = ["sleeping", "uninterruptible", "runnable"][Int.random(in: 0..<3, using: &random)]
                let wait = UInt64.random(in: 1_000...5_000_000, using: &random)
                counted[groups.number(kind: "off-cpu", command: Self.name(command), phase: phase, band: known, state: state, &random), default: [:]][
                    stack, default: 0] += wait
            }
        }
        let text = counted.sorted { $0.key < $1.key }.map { group, stacks in
            "[\(group)" + stacks.sorted { $0.key < $1.key }.map { ",\($0.key),\($0.value)" }.joined() + "]"
        }.joined(separator: ",")
        return "{\"time\":\"\(time)\",\"interval_s\":1,\"samples\":[\(text)]}\n"
    }

    private func record(_ totals: [Int: Total]) -> String {
        let list = totals.sorted { $0.key < $1.key }.map { command, total in
            "\"\(Self.name(command))\":\(total.json(errors: command == 1 ? total.calls / 100 : 0))"
        }
        return """
            {"kiln":{"version":"0.0.0"},"kernel":"6.12.0","hook":"socket","side":"server","started":"\(Self.time(0))","duration_s":\(seconds),"interval_s":1,"ended":"duration",
            "target":{"pid":4711,"exe":"/usr/bin/redis-server","comm":"redis-server","port":6379,"ports":[6379]},
            "commands":{\(list.joined(separator: ","))},"phases_unknown":{},
            "waits":[{"culprit":"EVAL","victim":"GET","times":1207,"wait_ns":48000000}],
            "clients":{"127.0.0.1":{"commands":\(totals.values.reduce(0) { $0 + $1.calls }),"received_bytes":123456789,"sent_bytes":23456789}},
            "syscalls":{"epoll_wait":{"count":52000,"errors":0},"read":{"count":41000,"errors":12},"write":{"count":40000,"errors":0}},
            "samples":{"on_cpu":{"frequency_hz":\(frequency),"unit":"samples","expected":\(seconds * frequency),"recorded":\(seconds * frequency),"complete":\(seconds * frequency - 3),
            "ends":{"complete":\(seconds * frequency - 3),"no_mapping":3},"kernel_truncated":0}},
            "lost":{"queue_unknown":17},"cost":{"own_cpu_s":0.31,"own_peak_rss_bytes":41943040,"target_cpu_s":\(Double(seconds) * 0.9),"attach_s":0.12,"symbolize_s":0.4}}
            """
    }

    /// A command's numbers over the session.
    private struct Total {
        var calls = 0
        var slots = [[Int: Int]](repeating: [:], count: GeneratedSession.phases.count)

        mutating func add(_ more: [(slot: Int, count: Int)], _ phase: Int, calls: Int) {
            self.calls += calls
            for (slot, count) in more { slots[phase][slot, default: 0] += count }
        }

        func json(errors: Int) -> String {
            let phases = slots.enumerated().map { phase, slots -> String in
                let sorted = slots.sorted { $0.key < $1.key }, count = sorted.reduce(0) { $0 + $1.value }
                func percentile(_ share: Double) -> UInt64 {
                    var reached = 0
                    for (slot, number) in sorted {
                        reached += number
                        if Double(reached) >= share * Double(count) { return (GeneratedSession.lower(slot) + GeneratedSession.lower(slot + 1)) / 2 }
                    }
                    return 0
                }
                let sum = sorted.reduce(UInt64(0)) { $0 + GeneratedSession.lower($1.key) * UInt64($1.value) }
                return """
                    "\(GeneratedSession.phases[phase])":{"count":\(count),"sum_ns":\(sum),"max_ns":\(sorted.last.map { GeneratedSession.lower($0.key) } ?? 0),"p50_ns":\(percentile(0.5)),\
                    "p90_ns":\(percentile(0.9)),"p99_ns":\(percentile(0.99)),"p99_9_ns":\(percentile(0.999)),"slots":[]}
                    """
            }
            return """
                {"count":\(calls),"errors":\(errors),"error_words":{\(errors > 0 ? "\"WRONGTYPE\":\(errors)" : "")},"exec_run_queue_ns":1000,"request_bytes_max":512,"reply_bytes_max":4096,\
                "phases":{\(phases.joined(separator: ","))}}
                """
        }
    }

    /// The table of groups, in the order in which they are met.
    private struct Groups {
        let session: GeneratedSession
        private var numbers: [String: Int] = [:]
        private(set) var lines: [String] = []

        init(_ session: GeneratedSession) { self.session = session }

        mutating func number(kind: String, command: String, phase: String?, band: Int?, state: String?, _ random: inout SeededGenerator) -> Int {
            var fields = "\"kind\":\"\(kind)\",\"process\":\"redis-server\",\"command\":\"\(command)\""
            if session.hasThreads { fields += ",\"thread\":\"io_thd_\(Int.random(in: 1...2, using: &random))\"" }
            if let phase { fields += ",\"phase\":\"\(phase)\"" }
            if let band { fields += ",\"band_ns\":[\(GeneratedSession.lower(8 * band)),\(band >= 66 ? "null" : "\(GeneratedSession.lower(8 * band + 8))")]" }
            if let state { fields += ",\"state\":\"\(state)\"" }
            if let number = numbers[fields] { return number }
            numbers[fields] = lines.count
            lines.append("{\"group\":{\(fields)}}\n")
            return lines.count - 1
        }
    }

    /// Stacks that share their callers.
    private struct StackTree {
        var frames: [String] = []
        var table: [(caller: Int, frame: Int)] = []
        private var numbers: [String: Int] = [:]
        private var known: [Int: [Int: Int]] = [:]
        /// By command.
        private var leaves: [[Int]]
        private(set) var loop = 0, slow = 0

        init(stacks: Int, commands: Int, _ random: inout SeededGenerator) {
            leaves = [[Int]](repeating: [], count: commands)
            let below = ["main", "aeMain", "aeProcessEvents", "readQueryFromClient", "processInputBuffer", "processCommand", "call"]
            loop = stack(["main", "aeMain", "aeProcessEvents", "aeApiPoll", "epoll_wait_[l]", "do_syscall_64_[k]", "ep_poll_[k]"])
            slow = stack(below + ["evalCommand", "lua_pcall", GeneratedSession.slowFunction])
            var taken: Set<Int> = []
            while taken.count < stacks {
                let command = taken.count % commands
                var path = below + ["\(GeneratedSession.name(command).lowercased())Command"]
                var function = command
                for depth in 0..<Int.random(in: 2...22, using: &random) {
                    // One of a few callees, the first one half of the time; a callee is a fixed function of its caller.
                    let choice = Bool.random(using: &random) ? 0 : Int.random(in: 0..<5, using: &random)
                    var caller = SeededGenerator(seed: UInt64(function * 131 + choice * 31 + depth))
                    function = 1 + Int(caller.next() % 4_000)
                    path.append(Self.function(function) + (depth > 15 ? "_[k]" : function % 9 == 0 ? "_[l]" : function % 11 == 0 ? "_[i]" : ""))
                }
                let number = stack(path)
                if taken.insert(number).inserted { leaves[command].append(number) }
            }
        }

        static func function(_ number: Int) -> String {
            let words = ["read", "write", "dict", "sds", "lock", "hash", "alloc", "io", "str", "tree", "list", "cmd", "key", "zset"]
            return words[number % 14] + words[number / 14 % 14].capitalized
                + (number / 196 == 0 ? "" : words[number / 196 % 14].capitalized + "\(number / 2744)")
        }

        private mutating func stack(_ path: [String]) -> Int {
            var at = -1
            for name in path {
                let frame = numbers[name] ?? frames.count
                if numbers[name] == nil {
                    numbers[name] = frame
                    frames.append(name)
                }
                if let next = known[at]?[frame] { at = next; continue }
                known[at, default: [:]][frame] = table.count
                table.append((at, frame))
                at = table.count - 1
            }
            return at
        }

        /// A few are sampled often, most seldom.
        func stack(of command: Int, _ random: inout SeededGenerator) -> Int {
            let list = leaves[command], place = Double.random(in: 0..<1, using: &random)
            return list[min(list.count - 1, Int(pow(place, 4) * Double(list.count)))]
        }
    }

    /// A file that is written in large pieces.
    private final class FileText {
        private let file: FileHandle
        private var text = Data()

        init(_ url: URL) throws {
            guard FileManager.default.createFile(atPath: url.path, contents: nil) else { throw CocoaError(.fileWriteUnknown) }
            file = try FileHandle(forWritingTo: url)
        }

        func write(_ line: String) throws {
            text.append(contentsOf: line.utf8)
            if text.count > 1 << 20 { try flush() }
        }

        private func flush() throws {
            try file.write(contentsOf: text)
            text.removeAll(keepingCapacity: true)
        }

        func close() throws {
            try flush()
            try file.close()
        }
    }
}
