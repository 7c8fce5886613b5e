import Foundation
import TestSupport

/// A key and a certificate of our own, and a port for them; gone with the value.
final class TLSKeys {
    private let directory: String
    /// How the server names it.
    private let inside: String
    let port: UInt16

    var certificate: String { directory + "/certificate.pem" }
    var key: String { directory + "/key.pem" }

    /// For a server that runs in the tree `root`, or in this machine's.
    init(in root: String? = nil) throws {
        directory = temporaryDirectory(in: (root ?? "") + "/tmp")
        inside = String(directory.dropFirst(root?.count ?? 0))
        port = try freePort()
        let status = try Child(
            "openssl",
            [
                "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                "-keyout", key, "-out", certificate,
            ]
        ).wait()
        guard status == 0 else { throw TestFailure("openssl ended with \(status)") }
    }

    deinit { try? FileManager.default.removeItem(atPath: directory) }

    /// What makes a redis-server listen with them.
    var arguments: [String] {
        [
            "--tls-port", "\(port)", "--tls-cert-file", inside + "/certificate.pem", "--tls-key-file", inside + "/key.pem",
            "--tls-ca-cert-file", inside + "/certificate.pem", "--tls-auth-clients", "no",
        ]
    }

    /// What makes redis-benchmark use them.
    var benchmark: [String] { ["-p", "\(port)", "--tls", "--cacert", certificate] }
}
