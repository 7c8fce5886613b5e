/// The calls of one function.
public struct FunctionCount: Equatable, Sendable {
    public var calls: UInt64 = 0
    /// Calls that returned and were timed, recursive ones included.
    public var returned: UInt64 = 0
    /// Calls whose frame was left by longjmp or an exception, or with the thread's end; noticed at the next probed call or return of the stack.
    public var neverReturned: UInt64 = 0
    /// From call to return, of outermost calls: a call that the function made to itself, directly or not, is part of the outermost one.
    public var time = Histogram()
    /// Of all calls that returned, without the probed calls that returned to them.
    public var selfTime = Nanoseconds.zero
    /// How long the function was counted, in the interval in which it was let go; nil in all others.
    public var countedFor: Nanoseconds?

    public init() {}

    /// The function was called, returned, or was left.
    public var hasHappened: Bool { calls | returned | neverReturned != 0 }

    public func since(_ earlier: FunctionCount) -> FunctionCount {
        var growth = FunctionCount()
        growth.calls = calls &- earlier.calls
        growth.returned = returned &- earlier.returned
        growth.neverReturned = neverReturned &- earlier.neverReturned
        growth.time = time.since(earlier.time)
        growth.selfTime = selfTime - earlier.selfTime
        return growth
    }
}

/// The numbers of a session's functions, in their order.
public struct FunctionCounts: SnapshotSection {
    public var functions: [FunctionCount]
    /// The time since the session began.
    public var length = Nanoseconds.zero
    /// The functions that were let go, by index, and when: the time since the session began.
    public var letGo: [Int: Nanoseconds] = [:]

    public init(functions: [FunctionCount]) { self.functions = functions }

    public func since(_ earlier: FunctionCounts?) -> FunctionCounts {
        let before = earlier?.functions ?? [], begin = earlier?.length ?? .zero
        var growth = self
        growth.functions = functions.enumerated().map { index, now in
            guard index < before.count else { return now }
            // Most functions are never called.
            return now == before[index] ? FunctionCount() : now.since(before[index])
        }
        for (function, end) in letGo where end > begin && growth.functions.indices.contains(function) {
            growth.functions[function].countedFor = end - begin
        }
        return growth
    }
}
