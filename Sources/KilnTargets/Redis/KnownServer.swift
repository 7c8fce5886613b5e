/// A server with a protocol that kiln knows.
public enum KnownServer: String, Hashable, Sendable, CaseIterable {
    case redis = "redis-server"
    case valkey = "valkey-server"
    case redict = "redict-server"
    case keydb = "keydb-server"
}
