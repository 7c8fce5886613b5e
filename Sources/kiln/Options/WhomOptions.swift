import ArgumentParser
import FoundationEssentials
import Glibc
import KilnKernel
import KilnTargets
import SystemPackage

/// Whom a session observes. Several options of one kind add up; options of different kinds narrow each other.
struct WhomOptions: ParsableArguments {
    @Option(
        name: .shortAndLong, help: ArgumentHelp("Observe this process and the processes that it starts; repeat for several.", valueName: "pid"))
    var pid: [Int32] = []

    @Option(name: .shortAndLong, help: ArgumentHelp("Observe this thread only; repeat for several.", valueName: "tid"))
    var tid: [Int32] = []

    @Option(
        help: ArgumentHelp("Observe threads with this name, and all threads of processes with this name; repeat for several.", valueName: "name"))
    var comm: [String] = []

    @Option(
        help: ArgumentHelp("Observe processes in this control group (version 2) and those below; repeat for several.", valueName: "path"),
        completion: .directory)
    var cgroup: [String] = []

    @Option(name: .shortAndLong, help: ArgumentHelp("Observe processes of this user, by name or number; repeat for several.", valueName: "user"))
    var user: [String] = []

    @Flag(name: [.customShort("a"), .customLong("all")], help: "Observe every process of the host.")
    var all = false

    /// A command behind -- then only bounds the session.
    var isGiven: Bool { !pid.isEmpty || all || filters }

    private var filters: Bool { !tid.isEmpty || !comm.isEmpty || !cgroup.isEmpty || !user.isEmpty }

    func validate() throws {
        for pid in pid where pid <= 0 { throw ValidationError("--pid \(pid) is no process: give a positive number.") }
        for tid in tid where tid <= 0 { throw ValidationError("--tid \(tid) is no thread: give a positive number.") }
        if !pid.isEmpty && all { throw ValidationError("--pid and --all exclude each other: give one.") }
        for name in comm where name.isEmpty { throw ValidationError("--comm needs a name.") }
        let limits = ThreadFilter.limits
        for (option, count, limit) in [
            ("--pid", pid.count, WatchedProcesses.limit), ("--tid", tid.count, limits.tids), ("--comm", comm.count, limits.names),
            ("--cgroup", cgroup.count, limits.controlGroups), ("--user", user.count, limits.users),
        ] where count > limit {
            throw ValidationError("\(count) times \(option): a session takes at most \(limit).")
        }
    }

    /// Throws a `Failure` for what doesn't exist.
    func filter() throws -> ThreadFilter {
        var filter = ThreadFilter()
        for tid in tid where access("/proc/\(tid)", F_OK) != 0 { throw Failure("no thread has the tid \(tid): `ps -eLf` lists threads.") }
        filter.tids = tid
        filter.names = comm
        filter.users = try user.map(userID)
        filter.controlGroups = try cgroup.map(controlGroup)
        return filter
    }

    /// Whom, in words, if no process and no command says it.
    var words: String {
        let parts =
            tid.map { "tid \($0)" } + comm.map { "processes named \($0)" } + user.map { "user \($0)" } + cgroup.map { "control group \($0)" }
        return parts.isEmpty ? "all processes" : parts.joined(separator: ", ")
    }

    private func userID(_ user: String) throws -> UInt32 {
        if let number = UInt32(user) { return number }
        // getpwnam() loads libraries of nsswitch.conf, which a static program can't.
        if let users = fopen("/etc/passwd", "re") {
            defer { fclose(users) }
            while let entry = fgetpwent(users) { if String(cString: entry.pointee.pw_name) == user { return entry.pointee.pw_uid } }
        }
        throw Failure("no user is named \(user). Give a name of /etc/passwd, or a number.")
    }

    /// A directory, or a path below the place where groups of version 2 are mounted, as /proc/PID/cgroup has it.
    private func controlGroup(_ path: String) throws -> String {
        var status = stat()
        if stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR, path != "/" { return path }
        for mount in controlGroupMounts() {
            let below = path.hasPrefix("/") ? mount + path : "\(mount)/\(path)"
            if stat(below, &status) == 0, status.st_mode & S_IFMT == S_IFDIR { return below }
        }
        throw Failure("no control group is at \(path). `cat /proc/PID/cgroup` names that of a process, in the line that begins with 0::.")
    }
}
