import CLibbpf
import Glibc

/// Run `body` on this thread inside a process's network namespace, and come back from it: what it returns, or the negative
/// errno of what kept it from being run. A socket that it opens stays in that namespace.
public func inNetworkNamespace(ofProcess pid: Int32, _ body: () -> Int32) -> Int32 {
    let own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)
    guard own >= 0 else { return -errno }
    defer { close(own) }
    let its = open("/proc/\(pid)/ns/net", O_RDONLY | O_CLOEXEC)
    guard its >= 0 else { return -errno }
    defer { close(its) }
    let entered = kiln_enter_network_namespace(its)
    guard entered == 0 else { return entered }
    let result = body()
    let left = kiln_enter_network_namespace(own)
    return left == 0 ? result : left
}
