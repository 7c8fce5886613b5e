import CLibbpf
import Glibc

/// Runs `body` on this thread in the network namespace of a process, and returns to the own one. Returns the result of `body`, or a
/// negative errno if the namespace can't be entered. A socket opened by `body` stays in that namespace.
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
