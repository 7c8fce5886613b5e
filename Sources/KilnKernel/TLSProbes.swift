import Glibc
import KilnBPF

/// The OpenSSL library of one process: a mapped file, or the program itself if it is linked statically.
public struct TLSLibrary: Sendable {
    /// The index of the process among the session's targets, and its pid.
    public let process: Int
    public let pid: Int32
    /// A path by which the kernel can open exactly this file.
    public let path: String
    /// A name for messages.
    public let name: String
    /// File offsets of `functionNames`, and of `ssl_read_internal` and `ssl_write_internal` if they are known.
    public let functions: [String: UInt64]

    /// The functions that are followed.
    public static let functionNames = Set(TLSProbes.attachments.flatMap { $0.functions.map(\.name) })

    public init(process: Int, pid: Int32, path: String, name: String, functions: [String: UInt64]) {
        self.process = process
        self.pid = pid
        self.path = path
        self.name = name
        self.functions = functions
    }
}

/// The attachments of the programs in hook_tls.bpf.h.
enum TLSProbes {
    static let programs = ["tls_call_begins", "tls_read_ends", "tls_write_ends", "tls_handshake_ends", "tls_stream_turns"]

    fileprivate struct Attachment {
        var program: String
        var atReturn: Bool
        /// Each function with the cookie for its program.
        var functions: [(name: String, cookie: kiln_tls_function)]

        /// If the function that both SSL_read and SSL_read_ex call is known, that one is used instead (the same for SSL_write): it has the
        /// arguments and the result of the _ex form. SSL_write_ex calls SSL_write_ex2.
        func functions(in library: TLSLibrary) -> [(name: String, cookie: kiln_tls_function)] {
            functions.compactMap { function in
                let inside = ["SSL_read": "ssl_read_internal", "SSL_write": "ssl_write_internal"]
                guard let (plain, name) = inside.first(where: { function.name.hasPrefix($0.key) }) else { return function }
                // OpenSSL before 1.1.1 has no _ex form.
                let extended = [plain + "_ex2", plain + "_ex"].first { library.functions[$0] != nil }
                guard function.name == plain || function.name == extended else { return nil }
                guard library.functions[name] != nil else { return function }
                return function.name == extended ? (name, function.cookie) : nil
            }
        }
    }

    /// Returns are attached before entries, so that every seen entry has its return seen, too.
    fileprivate static let attachments = [
        Attachment(program: "tls_read_ends", atReturn: true, functions: [("SSL_read", KILN_TLS_READ), ("SSL_read_ex", KILN_TLS_READ_EX)]),
        Attachment(
            program: "tls_write_ends", atReturn: true,
            functions: [
                ("SSL_write", KILN_TLS_WRITE), ("SSL_write_ex", KILN_TLS_WRITE_EX), ("SSL_write_ex2", KILN_TLS_WRITE_EX2),
            ]),
        Attachment(program: "tls_handshake_ends", atReturn: true, functions: [("SSL_do_handshake", KILN_TLS_HANDSHAKE)]),
        Attachment(program: "tls_stream_turns", atReturn: false, functions: [("SSL_free", KILN_TLS_FREE), ("SSL_clear", KILN_TLS_CLEAR)]),
        Attachment(program: "tls_stream_turns", atReturn: true, functions: [("SSL_new", KILN_TLS_NEW)]),
        Attachment(
            program: "tls_call_begins", atReturn: false,
            functions: [
                ("SSL_do_handshake", KILN_TLS_HANDSHAKE), ("SSL_write_ex2", KILN_TLS_WRITE_EX2), ("SSL_write_ex", KILN_TLS_WRITE_EX),
                ("SSL_write", KILN_TLS_WRITE), ("SSL_read_ex", KILN_TLS_READ_EX), ("SSL_read", KILN_TLS_READ),
            ]),
    ]
}

extension BPFObject {
    /// Attaches the TLS programs to each library, completely or not at all; then `refused` is called. Returns the followed libraries by
    /// process.
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
            for attachment in TLSProbes.attachments {
                try attach(
                    attachment.program,
                    toFunctions: try attachment.functions(in: library).map { function throws(KernelError) in
                        guard let offset = library.functions[function.name] else {
                            throw KernelError("find \(function.name) in \(library.path)", code: ENOENT)
                        }
                        return ProbedFunction(name: function.name, offset: offset, cookie: UInt64(function.cookie.rawValue))
                    },
                    of: library.path, inProcess: library.pid, atReturn: attachment.atReturn
                )
            }
        } catch {
            detach(backTo: before)
            throw error
        }
    }
}
