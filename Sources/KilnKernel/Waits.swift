import KilnBPF
import KilnModel

/// The maps of `off_cpu.bpf.h`: time off the CPU by stack, and the waits that have not ended.
final class Waits {
    static let programs = attachedPrograms + [sleepers]
    private static let attachedPrograms = ["off_cpu_waking", "off_cpu_switch"]
    /// Runs once, over all threads.
    private static let sleepers = "sleepers"

    /// Without `programs`, these maps are not needed: they are made as small as the kernel allows.
    static func leaveOut(of object: borrowing BPFObject) throws(KernelError) {
        for map in ["wait_times", "waiting"] { try object.setCapacity(ofMap: map, to: 1) }
    }

    private let times: BPFMap
    private let waiting: BPFMap
    private let filter: WaitFilter
    /// Nil while the session goes on.
    private var stopped: Nanoseconds?

    init(_ object: borrowing BPFObject, _ filter: WaitFilter) throws(KernelError) {
        times = try object.map("wait_times")
        waiting = try object.map("waiting")
        self.filter = filter
    }

    func stop() { stopped = stopped ?? MonotonicClock.now() }

    /// Attaches the programs, and lets the waits of all threads begin that sleep now.
    func begin(_ object: inout BPFObject) throws(KernelError) {
        for program in Self.attachedPrograms { try object.attach(program) }
        try object.run(overAllTasks: Self.sleepers)
    }

    /// Times by stack so far, with those of waits that have not ended.
    func read() throws(KernelError) -> [StackTable.Key: WaitTimes] {
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
            read.open = times.pointee.earlier_waits
            read.openTime = Nanoseconds(times.pointee.earlier_ns)
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
