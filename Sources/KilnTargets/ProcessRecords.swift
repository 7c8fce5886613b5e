// The content of /proc/PID/stat, status and cmdline (proc_pid_stat(5), proc_pid_status(5)).

/// The state letter of a process as the kernel prints it.
public struct ProcessState: Hashable, Sendable {
    public let letter: Character

    public init(letter: Character) { self.letter = letter }

    /// It has ended, but its parent has not yet read the exit status ('Z'), or it is being removed ('X', 'x').
    public var isDead: Bool { letter == "Z" || letter == "X" || letter == "x" }
}

/// /proc/PID/stat
public struct ProcessStat: Hashable, Sendable {
    /// The name of the thread-group leader; for a user process, at most 15 bytes.
    public var comm: String
    public var state: ProcessState
    public var parent: Int32
    /// PF_ flags of the kernel.
    public var flags: UInt32
    /// CPU time in clock ticks, including threads that have ended. Coarse: see ``ProcessCPUClock``.
    public var userTicks: UInt64
    public var systemTicks: UInt64
    public var threadCount: Int
    /// Clock ticks from boot to the start of the process. Together with the pid it identifies a process forever.
    public var startTime: UInt64
    /// `startstack`: where the stack of its main thread begins; 0: it has none, or it may not be read.
    public var startStack: UInt64

    /// PF_KTHREAD of include/linux/sched.h.
    public var isKernelThread: Bool { flags & 0x0020_0000 != 0 }

    /// Nil if the bytes are not a stat line with at least 22 fields.
    public init?(parsing bytes: [UInt8]) {
        // The name is in parentheses and may contain blanks, parentheses and newlines: it ends at the last ")".
        guard let open = bytes.firstIndex(of: UInt8(ascii: "(")), let close = bytes.lastIndex(of: UInt8(ascii: ")")), open < close
        else { return nil }
        let fields = bytes[(close + 1)...].fields
        guard fields.count >= 20, let letter = fields[0].text.first,
            let parent = fields[1].number(as: UInt32.self), let parent = Int32(exactly: parent),
            let flags = fields[6].number(as: UInt32.self),
            let user = fields[11].number(as: UInt64.self), let system = fields[12].number(as: UInt64.self),
            let threads = fields[17].number(as: UInt32.self),
            let start = fields[19].number(as: UInt64.self)
        else { return nil }
        self.comm = bytes[(open + 1)..<close].text
        self.state = ProcessState(letter: letter)
        self.parent = parent
        self.flags = flags
        self.userTicks = user
        self.systemTicks = system
        self.threadCount = Int(threads)
        self.startTime = start
        self.startStack = fields.count > 25 ? fields[25].number(as: UInt64.self) ?? 0 : 0
    }
}

/// /proc/PID/status
public struct ProcessStatus: Hashable, Sendable {
    public var state: ProcessState
    /// The process of this thread; equal to `pid` for a thread-group leader.
    public var threadGroup: Int32
    public var pid: Int32
    /// 0 for the first process of a pid namespace, and if the parent is outside the namespace of /proc.
    public var parent: Int32
    /// The real user id, as seen from the user namespace of the reader.
    public var uid: UInt32
    /// The pid in each nested pid namespace, from that of /proc inwards: the last one is the process's own view.
    public var namespacePIDs: [Int32]

    /// Nil if a field is missing that every kernel since 4.1 prints.
    public init?(parsing bytes: [UInt8]) {
        var values: [String: Bytes] = [:]
        for line in bytes[...].lines {
            guard let colon = line.firstIndex(of: UInt8(ascii: ":")) else { continue }
            let key = line[..<colon].text
            // The first line of a name counts: in Name, the only line that a process controls, newlines are escaped.
            if values[key] == nil { values[key] = line[(colon + 1)...] }
        }
        guard let state = values["State"]?.fields.first?.text.first,
            let group = values["Tgid"]?.fields.first?.pid,
            let pid = values["Pid"]?.fields.first?.pid,
            let parent = values["PPid"]?.fields.first?.number(as: UInt32.self), let parent = Int32(exactly: parent),
            let uid = values["Uid"]?.fields.first?.number(as: UInt32.self)
        else { return nil }
        self.state = ProcessState(letter: state)
        self.threadGroup = group
        self.pid = pid
        self.parent = parent
        self.uid = uid
        self.namespacePIDs = values["NSpid"]?.fields.compactMap(\.pid) ?? [pid]
    }
}

/// The arguments in /proc/PID/cmdline, each of which ends with a zero byte.
///
/// A server that rewrites its title leaves one argument ("redis-server *:6379") followed by zero bytes, which are dropped. Empty for kernel
/// threads and zombies.
public func commandLineArguments(parsing bytes: [UInt8]) -> [String] {
    var arguments = bytes.split(separator: 0, omittingEmptySubsequences: false).map { $0.text }
    while arguments.last?.isEmpty == true { arguments.removeLast() }
    return arguments
}
