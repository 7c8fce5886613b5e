import Foundation
import Glibc
import KilnModel
import KilnTargets
import TestSupport

/// A way to watch a server that the comparison holds against others.
struct Observer {
    let name: String
    /// Whether it tells how long each command takes.
    let perCommand: Bool
    /// Where its program comes from, for the list of versions; empty: this build.
    let program: String
    let start: (_ pid: Int32) throws -> any Watching
}

/// A running observer.
protocol Watching {
    var pid: Int32 { get }
    /// `commands` went through the server meanwhile. Throws where the observer saw nothing, or not what it claims to.
    func end(after commands: Int) throws
}

extension Observer {
    static let perRequest = "an event for each request"
    static let looking = "floor"

    /// kiln-observer, where it lies beside kiln.
    static func program(beside kiln: String) -> String { (kiln as NSString).deletingLastPathComponent + "/kiln-observer" }

    /// At how many receives and sends the one that only looks has looked, by what it said.
    static func looks(in said: String) -> Int? {
        said.split(separator: "looked at ").last.flatMap { Int($0.prefix { $0.isNumber }) }
    }

    /// All that can be had here, and what can't.
    static func all(kiln: String) -> (observers: [Observer], missing: [String]) {
        var observers: [Observer] = []
        func session(_ name: String, _ options: [String]) {
            observers.append(Observer(name: name, perCommand: true, program: "") { try Session(kiln, $0, options) })
        }
        session("kiln --no-syscalls -F 0", ["--no-syscalls", "-F", "0"])
        session("kiln --no-syscalls", ["--no-syscalls"])
        session("kiln -F 0", ["-F", "0"])
        session("kiln", [])
        session("kiln --hook fentry --no-syscalls -F 0", ["--hook", "fentry", "--no-syscalls", "-F", "0"])
        session("kiln --hook syscall --no-syscalls -F 0", ["--hook", "syscall", "--no-syscalls", "-F", "0"])
        session("kiln --hook syscall", ["--hook", "syscall"])
        let shipping = Observer.program(beside: kiln)
        let others: [(name: String, perCommand: Bool, program: String, ready: ObserverProgram.Ready, command: (Int32) -> [String])] = [
            (looking, false, shipping, .says("attached to"), { [shipping, "look", "\($0)"] }),
            (perRequest, false, shipping, .says("attached to"), { [shipping, "ship", "\($0)"] }),
            ("bpftrace, histogram by command", true, "bpftrace", .says("Attaching"), { ["bpftrace", "-e", Self.script($0)] }),
            ("syscount -L", false, "syscount", .silent, { ["syscount", "-L", "-p", "\($0)"] }),
            ("perf trace -s", false, "perf", .silent, { ["perf", "trace", "-s", "-p", "\($0)"] }),
            (
                "perf record --call-graph dwarf", false, "perf", .silent,
                {
                    ["perf", "record", "-q", "-e", "cpu-clock", "-F", "99", "--call-graph", "dwarf", "-p", "\($0)", "-o", "-"]
                }
            ),
            ("strace -c", false, "strace", .says("attached"), { ["strace", "-c", "-f", "-p", "\($0)"] }),
        ]
        var missing: [String] = []
        for other in others {
            guard (try? launch(["sh", "-c", "command -v \(other.program)"]))?.wait() == 0 else {
                missing.append(other.name)
                continue
            }
            observers.append(
                Observer(name: other.name, perCommand: other.perCommand, program: other.program) {
                    try ObserverProgram(other.name, other.command($0), other.ready)
                })
        }
        return (observers, missing)
    }

    /// From the return of read to the beginning of write, by the command's name: what a one-liner can see.
    private static func script(_ pid: Int32) -> String {
        """
        tracepoint:syscalls:sys_enter_read /pid == \(pid)/ { @buffer[tid] = args->buf; }
        tracepoint:syscalls:sys_exit_read /pid == \(pid) && args->ret > 0/ { @start[tid] = nsecs; @name[tid] = str(@buffer[tid] + 8, 4); }
        tracepoint:syscalls:sys_enter_write /pid == \(pid) && @start[tid]/ { @us[@name[tid]] = hist((nsecs - @start[tid]) / 1000); delete(@start[tid]); }
        """
    }
}

/// A program of others, or of Benchmarks/, that watches until SIGINT.
final class ObserverProgram: Watching {
    /// How it is known that it watches.
    enum Ready { case says(String), silent }

    private let name: String
    private let child: Child
    private let output: String
    var pid: Int32 { child.pid }

    /// What remains to be done when a program has said its word, or says none.
    private static let settling: UInt32 = 1_000_000

    init(_ name: String, _ command: [String], _ ready: Ready) throws {
        self.name = name
        output = NSTemporaryDirectory() + "kiln-bench-\(UUID().uuidString).out"
        // Tracepoints of system calls need tracefs, which some hosts don't mount: it is mounted for the observer alone.
        let mounted = "[ -d /sys/kernel/tracing/events ] || mount -t tracefs tracefs /sys/kernel/tracing; exec \"$@\""
        child = try launch(["unshare", "-m", "sh", "-c", mounted, "sh"] + command, output: output, errors: output)
        if case .says(let word) = ready {
            for _ in 0..<1000 where child.isRunning && !text.contains(word) { usleep(10_000) }
            guard text.contains(word) else {
                kill(child.pid, SIGTERM)
                throw BenchFailure("\(name) did not begin: \(text.suffix(300))")
            }
        }
        usleep(Self.settling)
        guard child.isRunning else { throw BenchFailure("\(name) ended at once: \(text.suffix(300))") }
    }

    deinit {
        if child.isRunning { kill(pid, SIGTERM) }
        try? FileManager.default.removeItem(atPath: output)
    }

    private var text: String { String(decoding: FileManager.default.contents(atPath: output) ?? Data(), as: UTF8.self) }

    func end(after commands: Int) throws {
        kill(pid, SIGINT)
        for _ in 0..<3000 where child.isRunning { usleep(10_000) }
        if child.isRunning { kill(pid, SIGKILL) }
        child.wait()
        let size = (try? FileManager.default.attributesOfItem(atPath: output))?[.size] as? Int ?? 0
        let complete =
            switch name {
            case Observer.perRequest: try events() == commands
            case Observer.looking: (Observer.looks(in: text) ?? 0) >= 2 * commands / Traffic.deepestPipeline
            default: size > 50
            }
        guard complete else { throw BenchFailure("\(name) missed some: \(text)") }
    }

    /// `kiln-observer: <events> events, <lost> lost`: both are requests that it shipped.
    private func events() throws -> Int {
        let numbers = text.split(whereSeparator: { !$0.isNumber }).compactMap { Int($0) }.suffix(2)
        guard text.contains(" events, "), numbers.count == 2 else { throw BenchFailure("\(name) said \(text)") }
        return numbers.reduce(0, +)
    }
}

extension Session: Watching {
    /// kiln's own counts are to be exact: a cheap wrong number is none.
    func end(after commands: Int) throws {
        let record = try end(expecting: nil)
        let counted = ["SET", "GET", "DEL"].reduce(0) { $0 + Int(record.commands[$1]?.count ?? 0) }
        guard counted == commands else { throw BenchFailure("kiln counted \(counted) of \(commands) commands") }
    }
}
