import KilnBPF

/// The kernel side knows by its receives and sends what a thread works on. Between them a server's main thread also does what belongs to none:
/// timers, its append-only file, commands that were blocked. Stacks tell it apart, because the event loop calls its parts from different places:
///
///     main; aeMain; aeProcessEvents at X; readQueryFromClient; read                          a receive
///     main; aeMain; aeProcessEvents at X; readQueryFromClient; processCommand                an execution
///     main; aeMain; aeProcessEvents at W; epoll_wait                                         the event loop waits
///     main; aeMain; aeProcessEvents at V; serverCron                                         its own work
///     main; aeMain; aeProcessEvents at Y; beforeSleep at A; processUnblockedClients          likewise
///     main; aeMain; aeProcessEvents at Y; beforeSleep at B; handleClientsWithPendingWrites   a reply
extension StackTable {
    /// Stacks of executions that the event loop called from elsewhere than receives, and stacks before sends from elsewhere than sends, become stacks
    /// of the event loop. Nothing changes in a process of which no receive, or no wait of the event loop, has a stack.
    public mutating func separateWorkOfEventLoops() {
        let sites = callsByProcess.compactMapValues(EventLoopSites.init)
        func corrected(_ key: Key) -> Key {
            guard let sites = sites[key.process], let call = call(key, count: 1), sites.isOwnWork(call) else { return key }
            var key = key
            key.label = key.label & Int(KILN_LABEL_IDLE) | Int(KILN_ACTIVITY_LOOP.rawValue) << Int(KILN_LABEL_ACTIVITY_SHIFT)
            key.band = nil
            return key
        }
        let changed = history.series.map(\.key).map { ($0, corrected($0)) }.filter { $0 != $1 }
        relabelHistory(Dictionary(changed) { first, _ in first })
        weights = Dictionary(weights.map { (corrected($0.key), $0.value) }, uniquingKeysWith: &+)
        waits = Dictionary(waits.map { (corrected($0.key), $0.value) }) { one, other in
            var sum = one
            sum.add(other)
            return sum
        }
    }

    /// Samples and waits. A stack of an event may stand for many.
    private var callsByProcess: [Int: [EventLoopSites.Call]] {
        var calls: [Int: [EventLoopSites.Call]] = [:]
        func add(_ key: Key, _ count: UInt64) {
            if count != 0, let call = call(key, count: count) { calls[key.process, default: []].append(call) }
        }
        for (key, samples) in weights where key.kind == .onCPU { add(key, samples) }
        for (key, times) in waits { add(key, times.ended &+ times.open) }
        return calls
    }

    /// Nil unless the stack is whole.
    private func call(_ key: Key, count: UInt64) -> EventLoopSites.Call? {
        guard let frames = frames(of: key), frames.termination == .complete else { return nil }
        let activity = kiln_activity(kiln_label_activity(UInt16(truncatingIfNeeded: key.label)))
        return .init(activity: activity, stack: frames.user.reversed(), kernelEntry: frames.kernel.last, count: count)
    }
}

/// Where the event loop of a process calls its parts from.
private struct EventLoopSites {
    /// A stack with what its thread worked on.
    struct Call {
        let activity: kiln_activity
        /// Return addresses, the outermost first.
        let stack: [UInt64]
        /// The outermost function of the kernel; nil in user mode.
        let kernelEntry: UInt64?
        let count: UInt64
    }

    /// The return addresses up to the function that waits for events.
    private let loop: ArraySlice<UInt64>
    /// Behind them: those at which receives were called, and how many stacks have shown that.
    private var receives: Set<UInt64> = []
    private var receivesSeen: UInt64 = 0
    /// Those at which sends and the loop's own work were called.
    private var others: Set<UInt64> = []
    /// Those at which sends were called, with those of the next function.
    private var sends: [UInt64: [UInt64: UInt64]] = [:]

    /// So many receives show all places that they are called from.
    private static let enough: UInt64 = 10
    /// A place from which so large a share of sends is called is the only one.
    private static let nearlyAll = 0.9

    init?(_ calls: [Call]) {
        let systemCall = Self.most(calls.compactMap { call in call.kernelEntry.map { ($0, call.count) } })
        func isSystemCall(_ call: Call) -> Bool { call.kernelEntry != nil && call.kernelEntry == systemCall }
        let received = calls.filter { $0.activity == KILN_ACTIVITY_READ && isSystemCall($0) }
        guard let receive = received.max(by: { $0.count < $1.count || ($0.count == $1.count && $0.stack.lexicographicallyPrecedes($1.stack)) })?.stack else {
            return nil
        }
        // As much of a receive's stack as most of the loop's stacks begin with.
        let shared = calls.filter { $0.activity == KILN_ACTIVITY_LOOP && isSystemCall($0) }.map { call in
            (zip(call.stack, receive).prefix { $0 == $1 }.count, call.count)
        }
        guard let depth = Self.most(shared), depth > 0 else { return nil }
        loop = receive[..<depth]
        for call in calls {
            guard let site = site(call) else { continue }
            switch call.activity {
            case KILN_ACTIVITY_READ where isSystemCall(call):
                receives.insert(site)
                receivesSeen &+= call.count
            case KILN_ACTIVITY_REPLY where isSystemCall(call):
                others.insert(site)
                sends[site, default: [:]][call.stack[loop.count + 1], default: 0] &+= call.count
            case KILN_ACTIVITY_LOOP: others.insert(site)
            default: break
            }
        }
        if receives.isEmpty { return nil }
    }

    /// Whether it is labelled as a command's, and is the event loop's own work.
    func isOwnWork(_ call: Call) -> Bool {
        guard let site = site(call) else { return false }
        switch call.activity {
        case KILN_ACTIVITY_EXEC: return !receives.contains(site) && (others.contains(site) || receivesSeen >= Self.enough)
        case KILN_ACTIVITY_REPLY:
            guard let next = sends[site] else { return !sends.isEmpty && !receives.contains(site) }
            let all = next.values.reduce(0, &+)
            guard let only = next.max(by: { $0.value < $1.value }), Double(only.value) >= Self.nearlyAll * Double(all) else { return false }
            return call.stack[loop.count + 1] != only.key
        default: return false
        }
    }

    private func site(_ call: Call) -> UInt64? { call.stack.count > loop.count + 1 && call.stack.starts(with: loop) ? call.stack[loop.count] : nil }

    /// The value with the largest sum; of equal ones the largest value.
    private static func most<Value: Hashable & Comparable>(_ counts: [(value: Value, count: UInt64)]) -> Value? {
        counts.reduce(into: [:]) { $0[$1.value, default: 0] &+= $1.count }.max { ($0.value, $0.key) < ($1.value, $1.key) }?.key
    }
}
