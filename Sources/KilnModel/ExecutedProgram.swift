/// One call of execve(2) or execveat(2): the program that was executed, or why the call failed.
public struct ExecutedProgram: Sendable {
    /// Its number in the session, from 1; 0: the execution failed.
    public var number: UInt64 = 0
    /// When the program was about to begin, or the call returned.
    public var at = Nanoseconds.zero
    public var pid: Int32 = 0
    /// The thread that made the call.
    public var tid: Int32 = 0
    public var parent: Int32 = 0
    /// The real user in the initial user namespace.
    public var user: UInt32 = 0
    /// The thread's name before; nil if it is not known.
    public var commBefore: String?
    public var comm = ""
    /// The path that was asked for; nil if it could not be read.
    public var file: [UInt8]?
    /// Of a script, the program that runs it.
    public var interpreter: [UInt8]?
    /// The captured arguments; the last one may be cut. For a script, the arguments of its interpreter.
    public var arguments: [[UInt8]] = []
    public var lastArgumentIsCut = false
    /// Some arguments could not be read. BPF programs can't read pages that the process has never touched, and a failed call may pass arguments in such pages.
    public var argumentsAreUnreadable = false
    /// The number of all arguments; nil: more than `arguments`, and how many is not known.
    public var argumentCount: Int?
    /// The bytes of all arguments, each with its end; nil if it is not known.
    public var argumentBytes: UInt64?
    /// 0, or the errno of the failure.
    public var error: Int32 = 0

    public init() {}
}

/// How a program ended.
public enum ProgramEnd: Equatable, Sendable {
    case exited(status: Int32)
    case killed(signal: Int32, dumpedCore: Bool)
    /// Its process executed another program.
    case replaced
    /// It ran when the session ended.
    case running
    /// Its end was lost.
    case unknown

    /// `status`: the status that wait(2) returns.
    public init(waitStatus status: Int32) {
        let signal = status & 0x7f
        self = signal == 0 ? .exited(status: status >> 8 & 0xff) : .killed(signal: signal, dumpedCore: status & 0x80 != 0)
    }
}

/// A record of the kernel side.
public enum ExecutionRecord: Sendable {
    case began(ExecutedProgram)
    case failed(ExecutedProgram)
    case ended(number: UInt64, at: Nanoseconds, ProgramEnd)
}
