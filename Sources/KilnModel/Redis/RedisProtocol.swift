extension WireProtocol {
    /// Redis, Valkey, Redict and KeyDB.
    public static let redis = WireProtocol(name: "redis", title: "Redis", encoding: "RESP", payload: RESPPayload())
}
