import Foundation

/// A key and a certificate of our own, and a port for them; gone with the value.
final class TLSKeys {
    private let directory = temporaryDirectory()
    let port: UInt16

    var certificate: String { directory + "/certificate.pem" }
    var key: String { directory + "/key.pem" }

    init() throws {
        port = try freePort()
        let status = try Child("openssl", [
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=localhost",
            "-keyout", key, "-out", certificate,
        ]).wait()
        guard status == 0 else { throw TestFailure("openssl ended with \(status)") }
    }

    deinit { try? FileManager.default.removeItem(atPath: directory) }

    /// What makes a redis-server listen with them.
    var arguments: [String] {
        [
            "--tls-port", "\(port)", "--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file",
            certificate, "--tls-auth-clients", "no",
        ]
    }

    /// What makes redis-benchmark use them.
    var benchmark: [String] { ["-p", "\(port)", "--tls", "--cacert", certificate] }
}
