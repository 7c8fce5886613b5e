import CLibbpf
import Glibc
import KilnBPF
import KilnModel

/// Which executions a trace has.
public struct ExecutionFilter: Sendable {
    public var succeeded = true
    public var failed = false
    /// How programs end.
    public var ends = true
    /// The captured bytes of the arguments of an execution, at most.
    public var argumentBytes = 4096

    public static let argumentLimit = Int(KILN_EXEC_ARGUMENT_BYTES)

    public init() {}
}

/// Emits a record for each program that is executed, and for its end, and for each execution that fails.
public struct ExecProbe: ~Copyable {
    private var object: BPFObject
    private let members: Members
    private let filter: ExecutionFilter
    private let losses: BPFMap
    private let running: BPFMap
    private let ring: BatchRing<ExecutionRecord>

    /// Loads the programs; attaches none.
    public init(_ members: Members, _ filter: ExecutionFilter = ExecutionFilter()) throws(KernelError) {
        var object = try BPFObject(kiln_exec_object(), name: "exec")
        try members.configure(object)
        try object.setConstant(
            section: ".rodata.exec",
            kiln_exec_options(argument_bytes: UInt32(clamping: min(filter.argumentBytes, ExecutionFilter.argumentLimit)), ends: filter.ends ? 1 : 0))
        object.loadOnly(Members.programs + Self.programs(for: filter))
        try object.load()
        let losses = try object.map("losses"), running = try object.map("running_programs")
        ring = try BatchRing(try object.map("exec_ring"), of: "executed programs") { ExecutionRecord($0) }
        self.object = object
        self.members = members
        self.filter = filter
        self.losses = losses
        self.running = running
    }

    /// In the order of attaching: a name before is known, and no end comes without its beginning.
    private static func programs(for filter: ExecutionFilter) -> [String] {
        (filter.succeeded ? ["name_changes"] : []) + (filter.succeeded && filter.ends ? ["thread_exited"] : [])
            + (filter.succeeded ? ["program_begins"] : []) + (filter.failed ? ["call_returned"] : [])
    }

    /// `descendants`: lists running descendants of the first target, which become members, too. Returns how many there are.
    @discardableResult
    public mutating func attach(withDescendants descendants: (() -> [Int32])? = nil) throws(KernelError) -> Int {
        let adopted = try members.attach(to: &object, withDescendants: descendants)
        for program in Self.programs(for: filter) { try object.attach(program) }
        return adopted
    }

    /// Records since the last call, a batch at most, and whether there may be more.
    public func drain() throws(KernelError) -> (records: [ExecutionRecord], more: Bool) { try ring.drain() }

    /// The numbers of the programs that run, as far as the kernel has room for them.
    public func runningPrograms() throws(KernelError) -> Set<UInt64> {
        var numbers: Set<UInt64> = []
        try running.forEachEntry(key: UInt32.self, value: UInt64.self) { _, number in numbers.insert(number.pointee) }
        return numbers
    }

    public func read(into snapshot: inout Snapshot) throws(KernelError) {
        try snapshot.addLosses(losses, count: Int(KILN_EXEC_LOSS_COUNT.rawValue)) { kiln_describe_exec_loss($0) }
        snapshot.addPrograms(object.programCounts())
    }

    /// Emits no more records. Losses and running programs stay readable.
    public mutating func detach() { object.detach() }

    public func loadedPrograms() -> [LoadedProgram] { object.loadedPrograms() }
}

extension ExecutionRecord {
    /// Nil if the bytes are not a record.
    fileprivate init?(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count >= MemoryLayout<kiln_exec_end>.size else { return nil }
        switch bytes.load(as: UInt32.self) {
        case KILN_EXEC_ENDED.rawValue:
            let end = bytes.load(as: kiln_exec_end.self)
            let how = end.how == KILN_EXEC_END_REPLACED.rawValue ? ProgramEnd.replaced : ProgramEnd(waitStatus: Int32(bitPattern: end.status))
            self = .ended(number: end.program, at: Nanoseconds(end.at_ns), how)
        case KILN_EXEC_BEGAN.rawValue:
            guard let program = ExecutedProgram(bytes) else { return nil }
            self = .began(program)
        case KILN_EXEC_FAILED.rawValue:
            guard let program = ExecutedProgram(bytes) else { return nil }
            self = .failed(program)
        default: return nil
        }
    }
}

extension ExecutedProgram {
    fileprivate init?(_ record: UnsafeRawBufferPointer) {
        let header = MemoryLayout<kiln_exec_record>.size
        guard record.count >= header else { return nil }
        func load<Field>(_ field: KeyPath<kiln_exec_record, Field>) -> Field {
            record.load(fromByteOffset: MemoryLayout<kiln_exec_record>.offset(of: field) ?? 0, as: Field.self)
        }
        func name(_ field: PartialKeyPath<kiln_exec_record>) -> String {
            let offset = MemoryLayout<kiln_exec_record>.offset(of: field) ?? 0
            return String(decoding: record[offset..<offset + Int(KILN_COMM_BYTES)].prefix { $0 != 0 }, as: UTF8.self)
        }
        let captured = Int(load(\.arguments_captured)), file = Int(load(\.file_captured)), interpreter = Int(load(\.interpreter_captured))
        guard header + captured + file + interpreter <= record.count else { return nil }
        let bytes = Array(record[header...]), flags = load(\.flags)
        func has(_ flag: kiln_exec_flag) -> Bool { flags & flag.rawValue != 0 }
        self.init()
        number = load(\.program)
        at = Nanoseconds(load(\.at_ns))
        pid = Int32(bitPattern: load(\.tgid))
        tid = Int32(bitPattern: load(\.tid))
        parent = Int32(bitPattern: load(\.parent))
        user = load(\.user)
        error = -load(\.result)
        commBefore = has(KILN_EXEC_BEFORE_LOST) ? nil : name(\.comm_before)
        comm = name(\.comm)
        // Each with its NUL.
        if file > 0 { self.file = Array(bytes.dropFirst(captured).prefix(file - 1)) }
        if interpreter > 0 { self.interpreter = Array(bytes.dropFirst(captured + file).prefix(interpreter - 1)) }
        let words = bytes.prefix(captured)
        arguments = words.split(separator: 0, omittingEmptySubsequences: false).map { Array($0) }
        lastArgumentIsCut = words.last.map { $0 != 0 } ?? false
        if !lastArgumentIsCut { arguments.removeLast() }  // what is behind the last NUL
        argumentsAreUnreadable = has(KILN_EXEC_ARGUMENTS_LOST)
        argumentCount = argumentsAreUnreadable && error != 0 || has(KILN_EXEC_MORE_ARGUMENTS) ? nil : Int(load(\.arguments))
        // Of a failed call, only the bytes of arguments that were read are known.
        let all = load(\.argument_bytes)
        if error == 0 || (all == UInt64(captured) && argumentCount == arguments.count) { argumentBytes = all }
    }
}
