import KilnKernel
import KilnModel
import KilnSymbols
import KilnTargets

/// By what each target encrypts its connections, and what is told of those that can't be followed: each thing once.
struct EncryptedConnections {
    /// What the kernel can follow.
    let libraries: [TLSLibrary]
    private let targets: [Target]
    /// Targets of which nothing was told yet.
    private var untold: [Int]

    /// `follows`: false leaves encrypted connections alone; they are counted as unseen.
    init(_ targets: [Target], follows: Bool) {
        self.targets = targets
        var libraries: [TLSLibrary] = [], untold: [Int] = []
        for (process, target) in targets.enumerated() where follows {
            switch EncryptionLibrary(ofProcess: target.pid) {
            case .openSSL(let name, let path):
                // Of a file that can't be read no function is known, and that is said when it is to be followed.
                var functions = (try? fileOffsets(ofFunctions: TLSLibrary.functionNames, inFile: path)) ?? [:]
                functions.merge(openSSLInternals(inFile: path, calledBy: functions)) { named, _ in named }
                let stepped = [("SSL_read", "ssl_read_internal"), ("SSL_write", "ssl_write_internal")].contains { named, inside in
                    functions[inside] == nil && functions[named].map { isSteppedWhenProbed(at: $0, inFile: path) } == true
                }
                if stepped {
                    say("kiln: \(name) of pid \(target.pid) has no place for cheap probes: each read and write of an encrypted connection costs the server several times as much (on a virtual machine 10 us instead of 2). `kiln redis --no-tls` leaves these connections alone.")
                }
                libraries.append(TLSLibrary(process: process, pid: target.pid, path: path, name: name, functions: functions))
            case .other(let name):
                say("kiln: pid \(target.pid) has \(name), which isn't followed: connections that it encrypts are counted as tls_connections.")
            case .unknown:
                untold.append(process)
            }
        }
        self.libraries = libraries
        self.untold = untold
    }

    /// What was refused, for `--verbose`; said at once, too.
    func refusal(of library: TLSLibrary, _ error: KernelError) -> String {
        say("kiln: encrypted connections of pid \(library.pid) are not followed, \(library.name) is refused: ", error)
        return "\(library.name) of pid \(library.pid): \(error.cause)"
    }

    /// When encrypted connections were seen, of whose library nothing is known.
    mutating func tellUnseen(in snapshot: Snapshot) {
        guard !untold.isEmpty, snapshot.losses["tls_connections"] ?? 0 != 0 else { return }
        // They may have opened one since the session began.
        let libraries = untold.map { EncryptionLibrary(ofProcess: targets[$0].pid) }
        let without = zip(untold, libraries).filter { $1 == .unknown }.map { "\(targets[$0.0].pid)" }
        if !without.isEmpty {
            say("kiln: encrypted connections are not followed: pid \(without.joined(separator: ", ")) has no OpenSSL library mapped. Statically linked ones are followed where the program has its symbols.")
        }
        for (process, library) in zip(untold, libraries) {
            switch library {
            case .openSSL(let name, _):
                say("kiln: encrypted connections of pid \(targets[process].pid) are not followed: it has opened \(name) since the session began. Start kiln again to follow them.")
            case .other(let name):
                say("kiln: encrypted connections of pid \(targets[process].pid) are not followed: it has opened \(name) since the session began, which isn't followed.")
            case .unknown:
                break
            }
        }
        untold = []
    }
}
