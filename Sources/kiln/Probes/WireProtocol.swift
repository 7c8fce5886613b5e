import KilnKernel
import KilnModel

/// A protocol between clients and servers, as far as user space needs it. The kernel's part is `bpf/protocols/NAME`, which is chosen at compile
/// time.
///
/// Each protocol has a folder that defines one of these values; `Redis` is the first.
struct WireProtocol {
    /// The name in messages.
    let title: String
    /// The name of its message format.
    let encoding: String
    /// The BPF programs for its requests, and the commands that they treat specially.
    let objects: RequestObjects
    /// Decodes the bytes of a trace.
    let payload: any PayloadDecoder
}
