import Glibc
import KilnBPF
import KilnModel

/// The maps of `off_cpu.bpf.h`: time off the CPU by stack, and the waits that have not ended.
final class Waits {
    static let programs = ["off_cpu_waking", "off_cpu_switch"]

    /// Without `programs`, these maps are not needed: they are made as small as the kernel allows.
    static func leaveOut(of object: borrowing BPFObject) throws(KernelError) {
        for map in ["wait_times", "waiting"] { try object.setCapacity(ofMap: map, to: 1) }
    }

    /// A thread that sleeps when the session begins. Its stack is unknown, because no switch of it was seen.
    struct Sleeper {
        let tid: Int32
        /// The number of its process.
        let process: Int
        let state: WaitState
        let isIdle: Bool
    }

    private let times: BPFMap
    private let waiting: BPFMap
    private let filter: WaitFilter
    private var began = Nanoseconds.zero
    /// Nil while the session goes on.
    private var stopped: Nanoseconds?
    private var sleepers: [StackTable.Key: Sleeper] = [:]

    init(_ object: borrowing BPFObject, _ filter: WaitFilter) throws(KernelError) {
        times = try object.map("wait_times")
        waiting = try object.map("waiting")
        self.filter = filter
    }

    /// The programs are attached. Threads that sleep now, as `asleep` lists them, wait from this moment on.
    func begin(asleep: [Sleeper]) throws(KernelError) {
        began = MonotonicClock.now()
        for sleeper in asleep {
            // A tid is no hash of a stack, so no other stack has this key.
            let key = kiln_stack_key(
                hash: UInt64(sleeper.tid), process: UInt32(sleeper.process), kind: UInt16(StackKind.offCPU.rawValue),
                label: sleeper.isIdle ? UInt16(KILN_LABEL_IDLE) : 0
            )
            guard let known = StackTable.Key(key) else { continue }
            try times.update(key, kiln_wait_times())
            var wait = kiln_waiting()
            wait.key = key
            wait.began_ns = began.count
            wait.state = UInt32(sleeper.state.rawValue)
            // A thread that has left the CPU since the programs are attached has an entry of its own.
            if try waiting.insert(UInt32(bitPattern: sleeper.tid), wait) { sleepers[known] = sleeper }
        }
    }

    func stop() { stopped = stopped ?? MonotonicClock.now() }

    /// Times by stack so far, with those of waits that have not ended. `learn` gets stacks that the kernel doesn't send.
    func read(learning learn: (StackTable.Key, StackFrames) -> Void) throws(KernelError) -> [StackTable.Key: WaitTimes] {
        let now = stopped ?? MonotonicClock.now()
        var waits: [StackTable.Key: WaitTimes] = [:]
        try times.forEachEntry(key: kiln_stack_key.self, value: kiln_wait_times.self) { key, times in
            guard let key = StackTable.Key(key.pointee) else { return }
            var read = WaitTimes()
            withUnsafeBytes(of: times.pointee.ns) { bytes in
                for (state, ns) in zip(WaitState.allCases, bytes.bindMemory(to: UInt64.self)) { read.add(Nanoseconds(ns), in: state) }
            }
            read.ended = times.pointee.waits
            read.longest = Nanoseconds(times.pointee.longest_ns)
            if sleepers[key] != nil {
                learn(key, StackFrames(kernel: [], user: [], interrupted: [], termination: .asleepBefore))
                read.open = read.ended
                read.openTime = read.total
            }
            if read.total != .zero { waits[key] = read }
        }
        try waiting.forEachEntry(key: UInt32.self, value: kiln_waiting.self) { _, wait in
            let wait = wait.pointee
            guard wait.began_ns != 0, wait.began_ns < now.count, let key = StackTable.Key(wait.key),
                let state = WaitState(rawValue: Int(wait.state)), filter.lengths.contains(Nanoseconds(now.count - wait.began_ns))
            else { return }
            let woken = wait.woken_ns == 0 ? now.count : max(wait.woken_ns, wait.began_ns)
            var open = WaitTimes()
            if filter.states.contains(state) { open.add(Nanoseconds(woken - wait.began_ns), in: state) }
            if filter.states.contains(.runnable), now.count > woken { open.add(Nanoseconds(now.count - woken), in: .runnable) }
            open.open = 1
            open.openTime = open.total
            waits[key, default: WaitTimes()].add(open)
            if sleepers[key] != nil { learn(key, StackFrames(kernel: [], user: [], interrupted: [], termination: .asleepBefore)) }
        }
        return waits
    }
}

extension kiln_stack_options {
    init(byThread: Bool, everything: Bool, _ filter: WaitFilter) {
        self.init()
        by_thread = byThread ? 1 : 0
        self.everything = everything ? 1 : 0
        wait_states = filter.states.reduce(0) { $0 | 1 << UInt32($1.rawValue) }
        min_wait_ns = filter.lengths.lowerBound.count
        max_wait_ns = filter.lengths.upperBound.count
    }
}

/// The threads of a process that sleep now, by proc(5).
func asleep(_ process: SampledProcess) -> [Waits.Sleeper] {
    var sleepers: [Waits.Sleeper] = []
    guard let tasks = opendir("/proc/\(process.pid)/task") else { return [] }
    defer { closedir(tasks) }
    while let entry = readdir(tasks) {
        let name = withUnsafePointer(to: &entry.pointee.d_name) { $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) } }
        guard let tid = Int32(name), let state = state(ofThread: tid) else { continue }
        sleepers.append(.init(tid: tid, process: process.number, state: state, isIdle: state == .sleeping && waitsInMultiplexer(tid)))
    }
    return sleepers
}

/// Nil: it runs, or it is gone.
private func state(ofThread tid: Int32) -> WaitState? {
    // tid (name) state ...
    guard let stat = contents(of: "/proc/\(tid)/stat"), let end = stat.lastIndex(of: UInt8(ascii: ")")), end + 2 < stat.count else { return nil }
    switch stat[end + 2] {
    case UInt8(ascii: "S"): return .sleeping
    case UInt8(ascii: "D"): return .uninterruptible
    case UInt8(ascii: "T"), UInt8(ascii: "t"): return .stopped
    default: return nil
    }
}

private func waitsInMultiplexer(_ tid: Int32) -> Bool {
    // number of the system call, its arguments
    guard let call = contents(of: "/proc/\(tid)/syscall"), let number = Int(String(decoding: call.prefix { $0 != UInt8(ascii: " ") }, as: UTF8.self)) else {
        return false
    }
    return kiln_is_multiplexer(UInt(bitPattern: number)) != 0
}

/// A file of a line; nil if it can't be read.
private func contents(of path: String) -> [UInt8]? {
    let file = open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { return nil }
    defer { close(file) }
    var bytes = [UInt8](repeating: 0, count: 1024)
    let count = read(file, &bytes, bytes.count)
    return count > 0 ? Array(bytes[..<count]) : nil
}
