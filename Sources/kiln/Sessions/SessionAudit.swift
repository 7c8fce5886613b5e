import Glibc
import KilnModel
import KilnTargets

/// What --audit needs from the session's beginning to its end: a connection to each server, and what both said at the start.
struct SessionAudit {
    private let connections: [ServerConnection]
    private let starts: [Audit.Moment]

    /// Asks each server for the first time; to be called when counting has begun.
    init(_ targets: [Target], _ options: RedisCommand, snapshot: () throws -> Snapshot) throws {
        let password = try Self.password(options)
        connections = try targets.map { try ServerConnection($0, user: options.auditUser, password: password) }
        var starts: [Audit.Moment] = []
        for connection in connections { starts.append(try Self.moment(connection, snapshot)) }
        self.starts = starts
    }

    /// Asks for the last time. nil for a server whose counters were reset meanwhile; an error is told, and is not the session's.
    func end(snapshot: () throws -> Snapshot) -> [Audit?] {
        connections.indices.map { process in
            do {
                let end = try Self.moment(connections[process], snapshot)
                guard let audit = Audit(process: process, from: starts[process], to: end) else {
                    say("kiln: no audit: the server's counters were reset meanwhile (CONFIG RESETSTAT).")
                    return nil
                }
                return audit
            } catch {
                say("kiln: no audit: ", error)
                return nil
            }
        }
    }

    private static func moment(_ connection: ServerConnection, _ snapshot: () throws -> Snapshot) throws -> Audit.Moment {
        let before = try snapshot()
        let statistics = try connection.statistics("everything")
        return Audit.Moment(before: before, server: statistics, after: try snapshot(), askedBytes: connection.requestBytes)
    }

    static func password(_ options: RedisCommand) throws -> String? {
        guard let file = options.auditPasswordFile else {
            return getenv("REDISCLI_AUTH").map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 }
        }
        var bytes: [UInt8] = []
        try readPieces(of: file, "a password") { bytes += $0 }
        return String(decoding: bytes.prefix { $0 != UInt8(ascii: "\n") && $0 != UInt8(ascii: "\r") }, as: UTF8.self)
    }
}
