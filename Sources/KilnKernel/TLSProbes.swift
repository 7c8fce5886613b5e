import Glibc
import KilnBPF

/// The OpenSSL library of one process: a file that it has mapped, its program included where that holds the library.
public struct TLSLibrary: Sendable {
    /// Index of the process among the session's targets, and its pid.
    public let process: Int
    public let pid: Int32
    /// A path by which the kernel can open the very file.
    public let path: String
    /// What a person calls it.
    public let name: String

    public init(process: Int, pid: Int32, path: String, name: String) {
        self.process = process
        self.pid = pid
        self.path = path
        self.name = name
    }
}

/// Where the programs of hook_tls.bpf.h are attached.
enum TLSProbes {
    static let programs = ["tls_call_begins", "tls_read_ends", "tls_write_ends", "tls_handshake_ends", "tls_stream_turns"]

    fileprivate struct Probe {
        var function: String
        var program: String
        var atReturn: Bool
        var cookie: kiln_tls_function
    }

    /// Ends before beginnings: a call whose beginning was seen has its end seen too.
    fileprivate static let probes = [
        Probe(function: "SSL_read", program: "tls_read_ends", atReturn: true, cookie: KILN_TLS_READ),
        Probe(function: "SSL_read_ex", program: "tls_read_ends", atReturn: true, cookie: KILN_TLS_READ_EX),
        Probe(function: "SSL_write", program: "tls_write_ends", atReturn: true, cookie: KILN_TLS_WRITE),
        Probe(function: "SSL_write_ex", program: "tls_write_ends", atReturn: true, cookie: KILN_TLS_WRITE_EX),
        Probe(function: "SSL_do_handshake", program: "tls_handshake_ends", atReturn: true, cookie: KILN_TLS_HANDSHAKE),
        Probe(function: "SSL_free", program: "tls_stream_turns", atReturn: false, cookie: KILN_TLS_FREE),
        Probe(function: "SSL_clear", program: "tls_stream_turns", atReturn: false, cookie: KILN_TLS_CLEAR),
        Probe(function: "SSL_new", program: "tls_stream_turns", atReturn: true, cookie: KILN_TLS_NEW),
        Probe(function: "SSL_do_handshake", program: "tls_call_begins", atReturn: false, cookie: KILN_TLS_HANDSHAKE),
        Probe(function: "SSL_write_ex", program: "tls_call_begins", atReturn: false, cookie: KILN_TLS_WRITE_EX),
        Probe(function: "SSL_write", program: "tls_call_begins", atReturn: false, cookie: KILN_TLS_WRITE),
        Probe(function: "SSL_read_ex", program: "tls_call_begins", atReturn: false, cookie: KILN_TLS_READ_EX),
        Probe(function: "SSL_read", program: "tls_call_begins", atReturn: false, cookie: KILN_TLS_READ),
    ]
}

extension BPFObject {
    /// Attach the programs of TLS to each library, or to nothing of it: then `refused` is told. What is followed, by process.
    mutating func attachTLS(to libraries: [TLSLibrary], refused: (TLSLibrary, KernelError) -> Void) -> [Int: String] {
        var followed: [Int: String] = [:]
        for library in libraries {
            do throws(KernelError) {
                try attachTLS(to: library)
                followed[library.process] = library.name
            } catch {
                refused(library, error)
            }
        }
        return followed
    }

    private mutating func attachTLS(to library: TLSLibrary) throws(KernelError) {
        let before = attachmentCount
        do {
            for probe in TLSProbes.probes {
                do throws(KernelError) {
                    try attach(
                        probe.program, toFunction: probe.function, of: library.path, inProcess: library.pid, atReturn: probe.atReturn,
                        cookie: UInt64(probe.cookie.rawValue)
                    )
                } catch where error.code == ENOENT && probe.function.hasSuffix("_ex") {
                    // OpenSSL before 1.1.1 has none.
                }
            }
        } catch {
            detach(backTo: before)
            throw error
        }
    }
}
