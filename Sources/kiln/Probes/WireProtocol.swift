import KilnKernel
import KilnModel

/// What the bytes between clients and servers mean, as far as user space has to know it. The kernel's part is `bpf/protocols/NAME`, and is
/// chosen when that is compiled.
///
/// A protocol is a folder that makes one of these values: see `Redis`.
struct WireProtocol {
    /// As people write it.
    let title: String
    /// What its messages are called.
    let encoding: String
    /// The programs that count its requests, and the commands that they treat specially.
    let objects: RequestObjects
    /// Reads the bytes of a trace.
    let payload: any PayloadDecoder
}
