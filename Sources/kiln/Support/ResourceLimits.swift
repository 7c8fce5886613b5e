import Glibc

/// Raises the limit of open files as far as allowed, and throws if a limit is too low for a session. Called before anything is attached.
/// Each CPU's timers and each mapped file of a target take a descriptor.
func requireLimits() throws {
    var files = rlimit(), space = rlimit()
    getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &files)
    files.rlim_cur = files.rlim_max
    setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &files)
    let wanted = rlim_t(160 + 2 * sysconf(Int32(_SC_NPROCESSORS_ONLN)))
    guard files.rlim_max >= wanted else {
        throw Failure("the limit of open files (ulimit -n) is \(files.rlim_max), and a session takes \(wanted) or more. Raise it.")
    }
    // Three times the VmPeak of a measured session; most of it is untouched memory of threads.
    let leastSpace = rlim_t(1 << 30)
    getrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &space)
    guard space.rlim_cur >= leastSpace else {
        throw Failure("the limit of address space (ulimit -v) is \(space.rlim_cur >> 20) MiB, and a session takes up to \(leastSpace >> 20). Raise it.")
    }
}
