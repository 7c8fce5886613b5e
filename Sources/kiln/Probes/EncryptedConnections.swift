import KilnKernel
import KilnModel
import KilnSymbols
import KilnTargets

/// The TLS library of each target, and a message, printed once, about connections that kiln can't follow.
struct EncryptedConnections {
    /// The libraries that kiln can follow.
    let libraries: [TLSLibrary]
    private let targets: [Target]
    /// Targets without a known library and without a message so far.
    private var unreported: [Int]

    /// `follows`: false ignores encrypted connections; they are counted as lost.
    init(_ targets: [Target], follows: Bool) {
        self.targets = targets
        var libraries: [TLSLibrary] = [], unreported: [Int] = []
        for (process, target) in targets.enumerated() where follows {
            switch EncryptionLibrary(ofProcess: target.pid) {
            case .openSSL(let name, let path):
                // A file that can't be read yields no functions; attaching reports that.
                var functions = (try? fileOffsets(ofFunctions: TLSLibrary.functionNames, inFile: path)) ?? [:]
                functions.merge(openSSLInternals(inFile: path, calledBy: functions)) { named, _ in named }
                let stepped = [("SSL_read", "ssl_read_internal"), ("SSL_write", "ssl_write_internal")].contains { named, inside in
                    functions[inside] == nil && functions[named].map { isSteppedWhenProbed(at: $0, inFile: path) } == true
                }
                if stepped {
                    say(
                        "kiln: \(name) of pid \(target.pid) allows only slow probes: each read and write of an encrypted connection costs the server several times as much as usual (on a virtual machine 10 us instead of 2). `kiln redis --no-tls` ignores these connections."
                    )
                }
                libraries.append(TLSLibrary(process: process, pid: target.pid, path: path, name: name, functions: functions))
            case .other(let name):
                say("kiln: pid \(target.pid) uses \(name), which kiln doesn't follow: its encrypted connections are counted as tls_connections.")
            case .unknown:
                unreported.append(process)
            }
        }
        self.libraries = libraries
        self.unreported = unreported
    }

    /// The line for `--verbose` about a refused library. Also prints a warning at once.
    func refusal(of library: TLSLibrary, _ error: KernelError) -> String {
        say("kiln: can't follow the encrypted connections of pid \(library.pid), because \(library.name) is refused: ", error)
        return "\(library.name) of pid \(library.pid): \(error.cause)"
    }

    /// Prints a message once encrypted connections of an unknown library were seen.
    mutating func reportUnseen(in snapshot: Snapshot) {
        guard !unreported.isEmpty, snapshot.losses["tls_connections"] ?? 0 != 0 else { return }
        // A target may have opened a library since the session began.
        let libraries = unreported.map { EncryptionLibrary(ofProcess: targets[$0].pid) }
        let without = zip(unreported, libraries).filter { $1 == .unknown }.map { "\(targets[$0.0].pid)" }
        if !without.isEmpty {
            say(
                "kiln: can't follow encrypted connections: pid \(without.joined(separator: ", ")) has no OpenSSL library mapped. kiln follows a statically linked one only if the program has its symbols."
            )
        }
        for (process, library) in zip(unreported, libraries) {
            switch library {
            case .openSSL(let name, _):
                say(
                    "kiln: can't follow the encrypted connections of pid \(targets[process].pid): it has opened \(name) since the session began. Start kiln again to follow them."
                )
            case .other(let name):
                say(
                    "kiln: can't follow the encrypted connections of pid \(targets[process].pid): it has opened \(name) since the session began, which kiln doesn't support."
                )
            case .unknown:
                break
            }
        }
        unreported = []
    }
}
