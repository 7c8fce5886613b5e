import TestSupport

extension RedisServer {
    /// A server of this build, with what every run of it needs.
    convenience init(_ arguments: [String] = [], build: ServerBuild, preload: String? = nil) throws {
        try self.init(build.arguments + arguments, command: build.command, root: build.root ?? "", preload: preload)
    }

    /// What a session of kiln counts while `load` runs, and what the server counts of the same.
    func counts(
        hook: String = Capability.hooks.first ?? "", during load: () throws -> Void
    ) throws -> (kiln: [String: UInt64], server: [String: UInt64], session: Session) {
        let before = try commandStatistics()
        let session = try Session.recording(pid: pid, ["--hook", hook], during: load)
        var server = try commandStatistics()
        for (name, count) in before { server[name, default: 0] -= count }
        return (session.counts.filter { $0.key != "INFO" }, server.filter { $0.value != 0 }, session)
    }
}
