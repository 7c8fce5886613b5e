import Glibc
import KilnKernel
import KilnModel
import KilnTargets

/// Compares kiln's counts with the servers' own: connects to each server and reads both at the session's beginning and end.
final class RedisAudit: Probe {
    /// How kiln logs in to a server.
    struct Login {
        let user: String?
        let password: String?

        /// - Parameter file: A file whose first line is the password. If nil, the password is taken from the environment variable
        ///   REDISCLI_AUTH, if it is set.
        init(user: String?, passwordFile file: String?) throws {
            self.user = user
            guard let file else {
                password = getenv("REDISCLI_AUTH").map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 }
                return
            }
            var bytes: [UInt8] = []
            try readPieces(of: file, "a password") { bytes += $0 }
            password = String(decoding: bytes.prefix { $0 != UInt8(ascii: "\n") && $0 != UInt8(ascii: "\r") }, as: UTF8.self)
        }
    }

    private let targets: [Target]
    private let login: Login
    private let requests: RequestProbe
    private var connections: [ServerConnection] = []
    private var starts: [Audit.Moment] = []
    private var audits: [Audit?] = []

    init(of requests: RequestProbe, _ targets: [Target], _ login: Login) {
        self.requests = requests
        self.targets = targets
        self.login = login
    }

    func load() {}
    func attach() -> Nanoseconds { MonotonicClock.now() }
    func read(into snapshot: inout Snapshot) {}

    /// Reads each server's statistics for the first time. The session's command starts later, so that the audit includes its requests.
    func begin() throws {
        connections = try targets.map { try ServerConnection($0, user: login.user, password: login.password) }
        starts = try connections.map(moment)
    }

    /// Reads each server's statistics for the last time. A failure is printed, and does not end the session.
    func finish() {
        audits = zip(connections, starts).enumerated().map { process, asked in
            do {
                let audit = Audit(process: process, from: asked.1, to: try moment(asked.0))
                if audit == nil { say("kiln: no audit: the server's counters were reset during the audit (CONFIG RESETSTAT).") }
                return audit
            } catch {
                say("kiln: no audit: ", error)
                return nil
            }
        }
    }

    func describe(_ record: inout SessionRecord, at moment: SessionMoment) {
        if audits.indices.contains(moment.process) { record.audit = audits[moment.process]?.record }
    }

    private func moment(_ connection: ServerConnection) throws -> Audit.Moment {
        func snapshot() throws -> Snapshot {
            var snapshot = Snapshot(time: MonotonicClock.now())
            try requests.read(into: &snapshot)
            return snapshot
        }
        let before = try snapshot()
        let statistics = try connection.statistics("everything")
        return Audit.Moment(before: before, server: statistics, after: try snapshot(), askedBytes: connection.requestBytes)
    }
}
