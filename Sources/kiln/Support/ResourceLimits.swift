import Glibc

/// What the limits of this process allow, before anything is attached: a session that runs into one can only break off. Each CPU's timers
/// and each mapped file of a target take a descriptor: as many as the system grants are taken.
func requireLimits() throws {
    var files = rlimit(), space = rlimit()
    getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &files)
    files.rlim_cur = files.rlim_max
    setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &files)
    let wanted = rlim_t(160 + 2 * sysconf(Int32(_SC_NPROCESSORS_ONLN)))
    guard files.rlim_max >= wanted else {
        throw Failure("the limit of open files (ulimit -n) is \(files.rlim_max), and a session takes \(wanted) or more. Raise it.")
    }
    // Three times what a session was seen to take (VmPeak), most of it for threads and never touched.
    let leastSpace = rlim_t(1 << 30)
    getrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &space)
    guard space.rlim_cur >= leastSpace else {
        throw Failure("the limit of address space (ulimit -v) is \(space.rlim_cur >> 20) MiB, and a session takes up to \(leastSpace >> 20). Raise it.")
    }
}
