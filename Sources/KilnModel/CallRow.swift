/// A line of `kiln trace syscalls`. Names carry their unit. Fields are added, never renamed.
public struct CallRow: Codable, Sendable, Equatable {
    /// When the call began; if that was before the session, when it returned; RFC 3339.
    public var time: String
    public var pid: Int32
    public var tid: Int32
    /// The thread's name.
    public var comm: String
    public var syscall: String
    /// 32-bit or x32, if the call has a number of their tables.
    public var abi: String?
    /// NAME=NUMBER, as many as the call takes; six of unknown calls; absent if they are not known.
    public var arguments: [String]?
    /// Absent: its thread ended in the call.
    public var returned: Int64?
    /// The name of the error that it returned.
    public var error: String?
    /// Absent: its entry was not seen.
    public var latencyNs: UInt64?
    /// Why `latencyNs` is absent. True: it began before the session. False: seccomp or a tracer skipped it, or it made its thread one of the session's.
    public var beganBefore: Bool?

    enum CodingKeys: String, CodingKey {
        case time, pid, tid, comm, syscall, abi, arguments, returned, error
        case latencyNs = "latency_ns", beganBefore = "began_before"
    }

    /// `takes`: the arguments that the call takes; nil: it is not known which.
    public init(_ traced: TracedCall, time: String, takes: [CallArgument]?) {
        self.time = time
        pid = traced.pid
        tid = traced.tid
        comm = traced.comm
        syscall = traced.unknownNumber.map { "syscall_\($0)" } ?? traced.call.name
        if traced.call.table != .native { abi = traced.call.table.name }
        arguments = traced.arguments.map { values in
            zip(takes ?? values.map { _ in .unknown }, values).map { argument, value in
                argument.name.isEmpty ? argument.text(value) : argument.name + "=" + argument.text(value)
            }
        }
        returned = traced.returned
        // The kernel keeps these numbers for errors, whatever a call returns.
        if let value = traced.returned, (-4095..<0).contains(value) { error = errnoName(Int(-value)) }
        latencyNs = traced.entered.map { (traced.ended - $0).count }
        beganBefore = traced.entered == nil ? traced.beganBefore : nil
    }

    /// Everything except the time.
    public var line: String {
        let call = "\(syscall)\(abi.map { " (\($0))" } ?? "")(\(arguments?.joined(separator: ", ") ?? "..."))"
        return "pid \(pid) tid \(tid) \(comm) \(call) = \(result) | \(duration)"
    }

    private var duration: String {
        latencyNs.map { Nanoseconds($0).description } ?? (beganBefore == false ? "its entry was not seen" : "began before the session")
    }

    private var result: String {
        guard let returned else { return "?" }
        // Errors from 512 on are the kernel's own: it makes the call again, or a signal ends the thread.
        if let error { return (returned <= -512 ? "? " : "-1 ") + error }
        // Beyond 32 bits it is an address, too.
        let isNumber = (0...Int64(UInt32.max)).contains(returned) && !["brk", "mmap", "mmap2", "mremap", "shmat"].contains(syscall)
        return isNumber ? "\(returned)" : "0x" + String(UInt64(bitPattern: returned), radix: 16)
    }
}
