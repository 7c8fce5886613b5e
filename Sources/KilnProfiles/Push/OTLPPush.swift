import SwiftProtobuf

extension PushDestination {
    /// OTLP/HTTP with protobuf: open-telemetry/opentelemetry-proto, `docs/specification.md` ("OTLP/HTTP Request" and "OTLP/HTTP Response").
    /// ExportProfilesServiceRequest has the fields of ProfilesData.
    public static let otlp = PushDestination(
        title: "http://HOST:4318 of OpenTelemetry's Collector or another receiver of OTLP, or a URL that ends in \(path)",
        endpoint: { url in
            if url.path.hasSuffix(path) { return url }
            guard url.path.isEmpty || url.path == "/" else { return nil }
            var endpoint = url
            endpoint.path = path
            return endpoint
        },
        requests: { profile, url in
            [
                PushRequest(
                    url: url, headers: ["Content-Type: application/x-protobuf", "Content-Encoding: gzip"],
                    body: Gzip.compressed(try ExportFormat.otlp.bytes(profile, ExportOptions())))
            ]
        },
        remark: { answer in
            guard let response = try? OTLP_ExportProfilesServiceResponse(serializedBytes: answer.body), response.hasPartialSuccess else { return nil }
            let partial = response.partialSuccess, words = PushAnswer.cut(partial.errorMessage)
            // A message without rejected profiles is a warning.
            let rejected = partial.rejectedProfiles > 0 ? "\(partial.rejectedProfiles) profiles were rejected" : nil
            let texts = [rejected, words.isEmpty ? nil : words].compactMap(\.self)
            return texts.isEmpty ? nil : texts.joined(separator: ": ")
        },
        words: { answer in
            guard answer.header("content-type")?.hasPrefix("application/x-protobuf") == true else { return nil }
            // google.rpc.Status: field 2 is the message.
            var fields = ProtobufFields(answer.body[...])
            while let field = fields.next() { if field.number == 2, let text = field.content { return String(decoding: text, as: UTF8.self) } }
            return ""
        })

    private static let path = "/v1development/profiles"
}
