import Foundation
import TestSupport

/// What the probes on OpenSSL cost.
extension Bench {
    /// Server CPU time per encrypted command, without kiln and with it.
    func encryptedCPU(rounds: Int) throws {
        let directory = FileManager.default.temporaryDirectory.appendingPathComponent("kiln-bench-\(getpid())").path
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let key = directory + "/key.pem", certificate = directory + "/certificate.pem"
        let status = try launch([
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
            "/CN=localhost", "-keyout", key, "-out", certificate,
        ]).wait()
        guard status == 0 else { throw BenchFailure("openssl ended with \(status)") }
        let port = try freePort()
        let server = try Server([
            "--tls-port", "\(port)", "--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", certificate,
            "--tls-auth-clients", "no",
        ])
        // The last port counts.
        let encrypted = ["-p", "\(port)", "--tls", "--cacert", certificate, "-t", "get", "-c", "20"]
        report("Server CPU per encrypted command (ns of its CPU clock; medians of \(rounds) interleaved rounds)")
        try serverCPU(
            of: server,
            under: [
                Workload(name: "GET -c 20 --tls", arguments: encrypted, commands: 75_000),
                Workload(name: "GET -c 20 --tls -P 16", arguments: encrypted + ["-P", "16"], commands: 400_000),
            ],
            [.nothing, .session(kiln, ["--no-syscalls"])], rounds: rounds
        )
    }
}
