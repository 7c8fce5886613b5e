import Foundation
import Glibc
import TestSupport
import Testing

extension KernelTests {
    /// Against perf, which copies a piece of each stack to user space and unwinds it there.
    @Suite struct UnwindPerfTests {
        private static let canCompare = (try? Child("perf", ["--version"]).wait()) == 0 && sysconf(Int32(_SC_NPROCESSORS_ONLN)) > 1

        /// The server has CPU 0 for itself, and perf samples that CPU: its timers that follow a process shift samples to where
        /// the process is switched in. Only what both saw is compared: the load changes while kiln starts beside it.
        @Test(.tags(.timing), .enabled(if: canCompare, "needs perf (linux-perf) and two CPUs"))
        func theHeaviestFunctionsWeighWhatPerfSeesOfThem() throws {
            let server = try RedisServer()
            try #require(try Child("taskset", ["-apc", "0", "\(server.pid)"]).wait() == 0)
            let loads = try server.steadyLoad()
            usleep(500_000)
            let data = server.directory + "/perf.data"
            let perf = try Child(
                "perf",
                [
                    "record", "-q", "-m", "16M", "-C", "0", "-e", "cpu-clock", "-F", "1499", "--call-graph", "dwarf,24576",
                    "-k", "CLOCK_MONOTONIC", "-o", data, "--", "sleep", "200",
                ])
            usleep(1_000_000)
            var window = (from: 0.0, to: 0.0)
            let session = try Session.recording(pid: server.pid, ["-F", "1511", "--no-syscalls"]) {
                window.from = Self.now()
                try letWork(server.pid, seconds: 8)
                window.to = Self.now()
            }
            kill(perf.pid, SIGINT)
            perf.wait()
            withExtendedLifetime(loads) {}

            let other = try Self.inclusive(
                Self.folded(perfData: data, pid: server.pid, window),
                // perf weighs a sample by its period in nanoseconds.
                unit: 1_000_000_000 / 1499)
            let own = Self.inclusive(session.stacks, unit: 1)
            #expect(own.samples >= 10_000 && other.samples >= 10_000, "\(own.samples) and \(other.samples) samples")
            // Of several names for an address perf and kiln may choose different ones.
            let aliases = try Self.aliases(server)
            func ours(_ name: String) -> Double? { own.shares[name] ?? aliases[name]?.compactMap { own.shares[$0] }.max() }
            let heaviest = other.shares.sorted { $0.value > $1.value }.prefix(40)
            #expect(heaviest.map(\.key).filter { ours($0) == nil } == [], "kiln doesn't name what perf does")
            for (name, share) in heaviest.prefix(20) {
                let ours = ours(name) ?? 0
                print(String(format: "  %-40@ perf %5.1f %%  kiln %5.1f %%", name as NSString, share * 100, ours * 100))
                #expect(abs(share - ours) < 0.03, "\(name): perf \(share), kiln \(ours)")
            }
        }

        private static func now() -> Double {
            var time = timespec()
            clock_gettime(CLOCK_MONOTONIC, &time)
            return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
        }

        /// The other names for the address of each function of the kernel's and the server's files, debug files included.
        private static func aliases(_ server: RedisServer) throws -> [String: Set<String>] {
            func output(_ program: String, _ arguments: [String]) throws -> String {
                try Child(program, arguments, output: server.directory + "/names").wait()
                return try String(contentsOfFile: server.directory + "/names", encoding: .utf8)
            }
            // By cat: Foundation reads the first page of a file in /proc and takes it for the whole.
            let maps = try output("cat", ["/proc/\(server.pid)/maps"])
            let files = Set(maps.split(separator: "\n").compactMap { line in line.firstIndex(of: "/").map { String(line[$0...]) } })
            var lists = try files.sorted().flatMap { file in
                let identity = try output("readelf", ["-n", file]).components(separatedBy: "Build ID: ").dropFirst().first?.prefix { $0.isHexDigit } ?? ""
                let debug = "/usr/lib/debug/.build-id/\(identity.prefix(2))/\(identity.dropFirst(2)).debug"
                return [try output("nm", ["-D", "--defined-only", file]), try output("nm", ["--defined-only", debug])]
            }
            lists.append(try output("cat", ["/proc/kallsyms"]))
            var aliases: [String: Set<String>] = [:]
            for list in lists {
                // Lines of nm and kallsyms: address type name, in libraries with @ or @@ and a version behind it.
                let symbols = list.split(separator: "\n").map { $0.split(whereSeparator: \.isWhitespace) }.filter { $0.count >= 3 && "tTwWiI".contains($0[1]) }
                for (_, names) in Dictionary(grouping: symbols, by: { $0[0] }) where names.count > 1 {
                    let names = Set(names.map { String($0[2].prefix { $0 != "@" }) })
                    for name in names { aliases[name, default: []].formUnion(names) }
                }
            }
            return aliases
        }

        private static func folded(perfData: String, pid: Int32, _ window: (from: Double, to: Double)) throws -> Stacks {
            let text = perfData + ".txt", folded = perfData + ".folded"
            let script = ["script", "--no-inline", "--pid", "\(pid)", "--time", "\(window.from),\(window.to)", "-i", perfData]
            guard try Child("perf", script, output: text).wait() == 0,
                try Child(KilnRun.binary, ["collapse", "perf", text, "-o", folded]).wait() == 0
            else { throw TestFailure("perf script or kiln collapse failed") }
            return Stacks(try String(contentsOfFile: folded, encoding: .utf8))
        }

        /// The share of all samples that has a function anywhere in its stack.
        private static func inclusive(_ stacks: Stacks, unit: UInt64) -> (shares: [String: Double], samples: Int) {
            var weights: [String: UInt64] = [:], total: UInt64 = 0
            for (frames, weight) in stacks.lines {
                total += weight
                for frame in Set(frames.dropFirst()) where frame.first != "[" {
                    // perf shows a symbol's version where it takes the name from a debug file.
                    weights[String(frame.replacing("_[k]", with: "").prefix { $0 != "@" }), default: 0] += weight
                }
            }
            return (weights.mapValues { Double($0) / Double(max(total, 1)) }, Int(total / unit))
        }
    }
}

extension RedisServer {
    /// Clients on CPU 1 that send each the same all the time, until they are let go.
    func steadyLoad() throws -> [Child] {
        let fill = "for i = 1, 500 do redis.call('RPUSH', 'list', i) redis.call('SADD', 'numbers', i * 7919 % 1000) end"
        _ = try Connection(port: port).reply(to: "EVAL", fill, "0")
        return try [
            ["-t", "get", "-c", "10"], ["-t", "set", "-c", "10", "-P", "16", "-d", "300"], ["-t", "zadd", "-c", "5", "-r", "1000"],
            ["-t", "hset", "-c", "5"], ["-c", "2", "LRANGE", "list", "0", "99"], ["-c", "1", "SORT", "numbers", "DESC"],
            ["-c", "1", "EVAL", "return string.rep('x', 1000)", "0"],
        ].map { try Child("taskset", ["-c", "1", "redis-benchmark", "-p", "\(port)", "-q", "-l"] + $0) }
    }
}
