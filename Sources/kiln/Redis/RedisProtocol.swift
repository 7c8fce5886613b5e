import KilnModel

extension WireProtocol {
    /// Redis and its relatives (Valkey, Redict, KeyDB). `KilnTargets` knows their servers, `RedisAudit` what they count themselves.
    static let redis = WireProtocol(title: "Redis", encoding: "RESP", objects: .redis, payload: RESPPayload())
}
