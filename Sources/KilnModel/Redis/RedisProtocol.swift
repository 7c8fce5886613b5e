extension WireProtocol {
    /// Redis and its relatives (Valkey, Redict, KeyDB).
    public static let redis = WireProtocol(name: "redis", title: "Redis", encoding: "RESP", payload: RESPPayload())
}
