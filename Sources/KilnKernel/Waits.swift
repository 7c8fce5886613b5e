import KilnBPF
import KilnModel

/// The maps of `off_cpu.bpf.h`: time off the CPU by stack, and the waits that have not ended.
final class Waits {
    static let programs = attachedPrograms + [sleepers]
    private static let attachedPrograms = ["off_cpu_waking", switching]
    private static let switching = "off_cpu_switch"
    /// Runs over all threads.
    private static let sleepers = "sleepers"

    /// Maps that are not needed are made as small as the kernel allows. `filter`: nil if no waits are recorded.
    static func leaveOut(of object: borrowing BPFObject, _ filter: WaitFilter?) throws(KernelError) {
        if filter == nil { for map in ["wait_times", "waiting", "known_kernel_stacks"] { try object.setCapacity(ofMap: map, to: 1) } }
        if filter?.interruptEntries == nil { for map in ["wakes", "waker_stacks"] { try object.setCapacity(ofMap: map, to: 1) } }
    }

    private let times: BPFMap
    private let waiting: BPFMap
    private let wakeTimes: BPFMap
    private let filter: WaitFilter
    /// Waits that have not ended count. Otherwise they are none of a call that was answered.
    private let countsOpen: Bool
    /// Nil while the session goes on.
    private var stopped: Nanoseconds?

    init(_ object: borrowing BPFObject, _ filter: WaitFilter, withOpen countsOpen: Bool) throws(KernelError) {
        self.countsOpen = countsOpen
        times = try object.map("wait_times")
        waiting = try object.map("waiting")
        wakeTimes = try object.map("wakes")
        self.filter = filter
    }

    /// Waits last until now: what a thread does afterwards is no longer seen.
    func stop(_ object: inout BPFObject) {
        object.detach(Self.switching)
        stopped = stopped ?? MonotonicClock.now()
    }

    /// Attaches the programs.
    func attach(_ object: inout BPFObject) throws(KernelError) { for program in Self.attachedPrograms { try object.attach(program) } }

    /// Takes the stacks of threads that sleep and have none: of those whose waits began before the session, and of those that ended in code whose
    /// file had not been read.
    func takeSleepers(_ object: borrowing BPFObject) throws(KernelError) { if stopped == nil { try object.run(overAllTasks: Self.sleepers) } }

    /// Times by stack so far. `withOpen`: with those of waits that have not ended.
    func read(withOpen: Bool) throws(KernelError) -> [StackTable.Key: WaitTimes] {
        let now = stopped ?? MonotonicClock.now()
        var waits: [StackTable.Key: WaitTimes] = [:]
        try times.forEachEntry(key: kiln_stack_key.self, value: kiln_wait_times.self) { key, times in
            guard let key = StackTable.Key(key.pointee) else { return }
            let read = WaitTimes(times.pointee)
            if read.total != .zero { waits[key] = read }
        }
        guard countsOpen, withOpen else { return waits }
        try waiting.forEachEntry(key: UInt32.self, value: kiln_waiting.self) { _, wait in
            let wait = wait.pointee
            guard wait.began_ns != 0, wait.began_ns < now.count, var key = StackTable.Key(wait.key),
                let state = WaitState(rawValue: Int(wait.state)), filter.lengths.contains(Nanoseconds(now.count - wait.began_ns))
            else { return }
            key.label |= Int(wait.work.finalLabel)
            let woken = wait.woken_ns == 0 ? now.count : min(max(wait.woken_ns, wait.began_ns), now.count)
            var open = WaitTimes()
            if filter.states.contains(state) { open.add(Nanoseconds(woken - wait.began_ns), in: state) }
            if filter.states.contains(.runnable), now.count > woken { open.add(Nanoseconds(now.count - woken), in: .runnable) }
            open.open = 1
            open.openTime = open.total
            if open.openTime != .zero { waits[key, default: WaitTimes()].add(open) }
        }
        return waits
    }

    /// Time until threads were woken, by both stacks, of waits that have ended.
    func wakes() throws(KernelError) -> [StackTable.WakeKey: WakeTimes] {
        var wakes: [StackTable.WakeKey: WakeTimes] = [:]
        try wakeTimes.forEachEntry(key: kiln_wake_key.self, value: kiln_wakes.self) { key, times in
            guard let waited = StackTable.Key(key.pointee.waited), let waker = StackTable.Key(key.pointee.waker) else { return }
            wakes[.init(waited: waited, waker: waker)] = WakeTimes(time: Nanoseconds(times.pointee.ns), wakes: times.pointee.wakes)
        }
        return wakes
    }
}

extension WaitTimes {
    init(_ times: kiln_wait_times) {
        self.init()
        withUnsafeBytes(of: times.ns) { bytes in
            for (state, ns) in zip(WaitState.allCases, bytes.bindMemory(to: UInt64.self)) { add(Nanoseconds(ns), in: state) }
        }
        ended = times.waits
        longest = Nanoseconds(times.longest_ns)
        open = times.earlier_waits
        openTime = Nanoseconds(times.earlier_ns)
    }
}

extension kiln_stack_options {
    init(byThread: Bool, _ filter: WaitFilter) {
        self.init()
        by_thread = byThread ? 1 : 0
        wait_states = filter.states.reduce(0) { $0 | 1 << UInt32($1.rawValue) }
        min_wait_ns = filter.lengths.lowerBound.count
        max_wait_ns = filter.lengths.upperBound.count
        wakers = filter.interruptEntries == nil ? 0 : 1
        interrupts_start = filter.interruptEntries?.lowerBound ?? 0
        interrupts_end = filter.interruptEntries?.upperBound ?? 0
    }
}
