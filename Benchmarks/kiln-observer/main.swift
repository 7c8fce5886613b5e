// Observers to hold kiln against, until SIGINT:
//
//   kiln-observer burn PID NANOSECONDS FILE   burns so much of a process's CPU time in each of its sends; writes `calls ns` to the file
//   kiln-observer ship PID                    ships each request to user space and counts it there
//   kiln-observer look PID                    reads the first bytes of each receive and each send, and the clock; does nothing with them
//   kiln-observer nothing FILE                two programs that do nothing at each receive and send; writes `runs ns`, by the kernel's
//                                             run-time statistics, to the file
import CLibbpf
import Foundation
import Glibc
import KilnKernel
import KilnModel
import ObserversBPF

/// The reading end of event-per-request: what a tool has to do at least to count requests.
final class Shipped {
    private var commands: [UInt64: UInt64] = [:]
    private(set) var lost: UInt64 = 0
    private var buffer: OpaquePointer?

    /// As much as the ring of kiln's trace has, for each CPU: what is lost isn't shipped, and costs less.
    private static let pages = 2048

    /// `fd`: the map of the buffers.
    init(map fd: Int32) throws {
        buffer = perf_buffer__new(
            fd, Self.pages,
            { context, _, record, size in
                guard let context, let record, size >= MemoryLayout<observer_event>.size else { return }
                Unmanaged<Shipped>.fromOpaque(context).takeUnretainedValue().count(UnsafeRawBufferPointer(start: record, count: Int(size)))
            },
            { context, _, lost in
                if let context { Unmanaged<Shipped>.fromOpaque(context).takeUnretainedValue().lost += lost }
            }, Unmanaged.passUnretained(self).toOpaque(), nil)
        guard buffer != nil else { throw KernelError("map the buffers of events", code: errno) }
    }

    deinit { perf_buffer__free(buffer) }

    var descriptor: Int32 { perf_buffer__epoll_fd(buffer) }

    func consume() { perf_buffer__consume(buffer) }

    /// `*2\r\n$3\r\nGET\r\n`: the name stands on the third line.
    private func count(_ record: UnsafeRawBufferPointer) {
        guard let start = MemoryLayout<observer_event>.offset(of: \.payload) else { return }
        let payload = record[start...].prefix(64)
        let name = payload.split(separator: UInt8(ascii: "\n"), maxSplits: 3).dropFirst(2).first?.prefix(8) ?? []
        commands[Self.key(name), default: 0] += 1
    }

    private static func key(_ name: some Sequence<UInt8>) -> UInt64 { name.reduce(0) { $0 << 8 | UInt64($1) } }

    /// Of the commands that benchmarks send; not what they prepare their server with.
    var requests: UInt64 { ["SET", "GET", "DEL"].reduce(0) { $0 + commands[Self.key("\($1)\r".utf8), default: 0] } }
}

enum Mode: String {
    case burn, ship, look, nothing

    var programs: [String] {
        switch self {
        case .burn, .ship: [rawValue]
        case .look: ["look_at_receive", "look_at_send", "look_at_data"]
        case .nothing: ["nothing_at_receive", "nothing_at_send"]
        }
    }
}

func observe() throws {
    let arguments = CommandLine.arguments
    guard arguments.count > 2, let mode = Mode(rawValue: arguments[1]), mode == .nothing || UInt32(arguments[2]) != nil else {
        print("usage: kiln-observer burn PID NANOSECONDS FILE | kiln-observer ship PID | kiln-observer look PID | kiln-observer nothing FILE")
        exit(2)
    }
    let events = try SessionEvents()
    var object = try BPFObject(observers_object(), name: "observers")
    object.loadOnly(mode.programs)
    let nanoseconds = mode == .burn && arguments.count > 3 ? UInt32(arguments[3]) ?? 0 : 0
    try object.setConstant(section: ".rodata.options", observer_options(tgid: UInt32(arguments[2]) ?? 0, burn_ns: nanoseconds))
    try object.load()
    let shipped = mode == .ship ? try Shipped(map: object.map("events").fd) : nil
    let statistics = mode == .nothing ? try RunStatistics() : nil
    for program in mode.programs { try object.attach(program) }
    say("attached to \(mode == .nothing ? "every process" : arguments[2])")
    events.watch(attention: shipped?.descriptor)
    wait: while true {
        switch events.next(until: MonotonicClock.now() + Nanoseconds(1_000_000_000)) {
        case .attention: shipped?.consume()
        case .signal: break wait
        case .deadline, .ended: break
        }
    }
    events.watch(attention: nil)
    if let shipped {
        shipped.consume()
        say("\(shipped.requests) events, \(shipped.lost) lost")
    }
    if mode == .look {
        var looks: UInt64 = 0
        try object.map("looked").forEachCopy(of: observer_looked.self, entries: 1) { _, copy in looks += copy.pointee.calls }
        say("looked at \(looks) receives and sends")
    }
    if mode == .burn, arguments.count > 4 {
        var sum = observer_burned()
        try object.map("burned").forEachCopy(of: observer_burned.self, entries: 1) { _, copy in
            sum.calls += copy.pointee.calls
            sum.ns += copy.pointee.ns
        }
        try "\(sum.calls) \(sum.ns)\n".write(toFile: arguments[4], atomically: true, encoding: .utf8)
    }
    if statistics != nil {
        let counts = object.loadedPrograms().map(\.counts)
        let runs = counts.reduce(0) { $0 + $1.runs }, runTime = counts.reduce(0) { $0 + $1.runTime.count }
        try "\(runs) \(runTime)\n".write(toFile: arguments[2], atomically: true, encoding: .utf8)
    }
}

func say(_ line: String) { FileHandle.standardError.write(Data("kiln-observer: \(line)\n".utf8)) }

do { try observe() } catch {
    say("\(error)")
    exit(1)
}
