import CLibbpf
import Glibc
import KilnBPF
import KilnModel

/// Which system calls a trace has. The kernel decides before anything is copied.
public struct CallFilter: Sendable {
    /// Only these; nil: all, and numbers that no call has.
    public var calls: [SystemCall]?
    /// Only calls that return an error.
    public var failed = false
    /// Only calls that take at least this long.
    public var slowerThan = Nanoseconds.zero

    public init() {}

    fileprivate var constants: kiln_call_options {
        var options = kiln_call_options()
        options.slower_than_ns = slowerThan.count
        options.failed = failed ? 1 : 0
        options.calls = kiln_chosen_calls(calls)
        return options
    }
}

/// Emits a record for each system call of the members.
public struct CallTraceProbe: ~Copyable {
    private var object: BPFObject
    private let members: Members
    private let losses: BPFMap
    private let ring: BatchRing<TracedCall>
    private let session: UnsafeMutablePointer<kiln_call_session>

    /// Loads the programs; attaches none.
    public init(_ members: Members, _ filter: CallFilter = CallFilter()) throws(KernelError) {
        var object = try BPFObject(kiln_call_trace_object(), name: "call_trace")
        try members.configure(object)
        try object.setConstant(section: ".rodata.options", filter.constants)
        try object.load()
        let losses = try object.map("losses"), variables = try object.mapVariables(as: kiln_call_session.self)
        ring = try BatchRing(try object.map("call_ring"), of: "system calls") { TracedCall($0) }
        self.object = object
        self.members = members
        self.losses = losses
        session = variables
    }

    /// `descendants`: lists running descendants of the first target, which become members, too. Returns how many there are.
    @discardableResult
    public mutating func attach(withDescendants descendants: (() -> [Int32])? = nil) throws(KernelError) -> Int {
        let adopted = try members.attach(to: &object, withDescendants: descendants)
        // A thread's first return without an entry is then that of a call which began before.
        try object.run(overAllTasks: "note_earlier_calls")
        for program in ["caller_exits", "call_enters", "call_returns"] { try object.attach(program) }
        session.pointee.began_ns = MonotonicClock.now().count
        return adopted
    }

    /// Records since the last call, a batch at most, and whether there may be more.
    public func drain() throws(KernelError) -> (records: [TracedCall], more: Bool) { try ring.drain() }

    public func read(into snapshot: inout Snapshot) throws(KernelError) {
        try snapshot.addLosses(losses, count: Int(KILN_CALL_LOSS_COUNT.rawValue)) { kiln_describe_call_loss($0) }
        snapshot.addPrograms(object.programCounts())
    }

    /// Emits no more records. Losses stay readable.
    public mutating func detach() { object.detach() }

    public func loadedPrograms() -> [LoadedProgram] { object.loadedPrograms() }
}

extension TracedCall {
    fileprivate init?(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count >= MemoryLayout<kiln_call_record>.size else { return nil }
        let record = bytes.load(as: kiln_call_record.self)
        func has(_ flag: kiln_call_flag) -> Bool { record.flags & flag.rawValue != 0 }
        self.init(
            call: SystemCall(rawValue: record.call), given: record.number, pid: Int32(bitPattern: record.tgid), tid: Int32(bitPattern: record.tid),
            comm: withUnsafeBytes(of: record.comm) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) },
            arguments: has(KILN_CALL_ARGUMENTS_LOST)
                ? nil : withUnsafeBytes(of: record.arguments) { Array($0.bindMemory(to: UInt64.self)) },
            entered: record.entered_ns == 0 ? nil : Nanoseconds(record.entered_ns), beganBefore: has(KILN_CALL_EARLIER),
            ended: Nanoseconds(record.ended_ns), returned: has(KILN_CALL_RETURNED) ? record.returned : nil
        )
    }
}
