extension PushDestination {
    /// Pyroscope's ingestion of pprof: https://grafana.com/docs/pyroscope/latest/reference-server-api/#ingestion, in grafana/pyroscope
    /// `docs/sources/reference-server-api/index.template` and `pkg/ingester/pyroscope/ingest_handler.go`.
    ///
    /// - `name` is the program's name, perhaps with labels: `redis-server{env=test}`. Of pprof it is a prefix: the server adds the kind, which it takes from
    ///   the sample types (`metricName` in `pkg/og/convert/pprof/profile.go`). A name has letters of ASCII, digits and `_-./`
    ///   (`api/model/labelset/validate.go`).
    /// - `from` and `until` are in seconds since 1970. The server takes the time from the profile if that has one.
    /// - `units`, `sampleRate` and `aggregationType` are of other formats; the server ignores them for pprof, and so they are as documented.
    /// - A body that is compressed is what pprof means by a file; the request has no Content-Encoding.
    public static let pyroscope = PushDestination(
        title: "http://HOST:4040/ingest of Pyroscope",
        endpoint: { $0.path == "/ingest" || $0.path.hasSuffix("/ingest") ? $0 : nil },
        requests: { profile, url in
            try profile.series.map { series in
                var part = profile
                part.series = [series]
                var request = url
                request.query = query(part, series, url)
                return PushRequest(
                    url: request, headers: ["Content-Type: application/octet-stream"],
                    body: Gzip.compressed(try ExportFormat.pprof.bytes(part, ExportOptions())))
            }
        },
        remark: { _ in nil }, words: { _ in nil })

    /// What a person wrote in the URL is kept: a name with labels, for example.
    private static func query(_ profile: Profile, _ series: Profile.Series, _ url: PushURL) -> String {
        let (start, end) = (profile.start, profile.start &+ profile.duration)
        let own = ["from": "\(start / 1_000_000_000)", "until": "\(end / 1_000_000_000 + (end % 1_000_000_000 == 0 ? 0 : 1))", "format": "pprof"]
        var defaults = [("name", PushURL.encoded(serviceName(profile.program))), ("spyName", "kiln"), ("units", series.unit.name), ("aggregationType", "sum")]
        if case .samples(let period) = series.unit { defaults.append(("sampleRate", "\(max(1, (1_000_000_000 + period / 2) / max(1, period)))")) }
        let given = url.parameters.filter { own[String($0.name)] == nil }
        let rest = defaults.filter { name, _ in !given.contains { $0.name == name } }
        let all = given.map { "\($0.name)=\($0.value)" } + own.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" } + rest.map { "\($0.0)=\($0.1)" }
        return all.joined(separator: "&")
    }

    private static func serviceName(_ program: String) -> String {
        let name = program.split(separator: "/").last ?? "unknown"
        return String(
            name.unicodeScalars.map {
                $0.isASCII && ($0.properties.isAlphabetic || ("0"..."9").contains($0) || "-._".unicodeScalars.contains($0)) ? Character($0) : "_"
            })
    }
}
