import Flamegraph
import KilnKernel
import KilnMetrics
import KilnModel
import KilnReport
import KilnServer
import Synchronization

/// Which path gives what. All of this runs on the server's thread, and nothing in it waits.
struct ServeRoutes: Sendable {
    let state: ServeState
    let pulls: Pulls
    let options: CurrentOptions
    let offCPUPulled: OffCPUPulled

    /// As net/http/pprof of Go.
    private static let defaultSeconds = 30.0

    func router(_ connections: ConnectionCounts) -> Router {
        var router = Router()
        router.add("/metrics") { _, exchange in
            exchange.answer(ServerResponse(type: Exposition.contentType, body: state.metrics(connections: connections.now)))
        }
        router.add("/healthz") { _, exchange in
            let (isWell, line) = state.health(interval: options.value.interval)
            exchange.answer(.line(line, status: isWell ? 200 : 503))
        }
        router.add("/debug/pprof/profile") { pull(.onCPU, $0, nil, $1) }
        router.add("/debug/pprof/off_cpu") { pull(.offCPU, $0, nil, $1) }
        router.add("/debug/pprof/command/*") { pull(.onCPU, $0, $0.path.last, $1) }
        router.add("/report.html") { request, exchange in pull(request.value("seconds") == nil ? .recent : .report, request, nil, exchange) }
        router.add("/") { request, exchange in
            let rows = state.read { $0.rows.values.sorted { $0.instance < $1.instance } }, totals = state.read { $0.totals }
            let health = state.health(interval: options.value.interval)
            exchange.answer(
                ServerResponse(
                    type: "text/html; charset=utf-8", body: StatusPage(rows: rows, totals: totals, chosen: request.value("instance"), health.line).html))
        }
        return router
    }

    private func pull(_ kind: Pull.Kind, _ request: ServerRequest, _ command: String?, _ exchange: Exchange) {
        let isPage = kind == .report || kind == .recent
        guard let seconds = seconds(request) else {
            return exchange.answer(
                .line("seconds=\((request.value("seconds") ?? "").prefix(40)) makes no sense here: give 1 to \(Int(Pull.mostSeconds)).", status: 400))
        }
        let (watched, known) = state.read { ($0.watched, Set($0.rows.keys)) }, instance = request.value("instance")
        if let instance, !known.contains(instance) {
            return exchange.answer(.line("There is no such instance; /metrics has those that there are.", status: 404))
        }
        guard options.value.frequency > 0 || isPage else {
            return exchange.answer(.line("No stacks are sampled: kiln serve runs with --frequency 0.", status: 404))
        }
        let name = command.map { "\(CommandName(asked: $0))" }
        if let name, !state.knowsCommand(name) {
            return exchange.answer(.line("No such command was called since kiln began.", status: 404, headers: [("Retry-After", "30")]))
        }
        guard !watched.isEmpty, instance.map(watched.contains) ?? true else { return exchange.answer(PullAnswer.noServer) }
        if request.method == .head {
            var response = ServerResponse(type: isPage ? "text/html; charset=utf-8" : "application/octet-stream", body: [])
            response.hasUnknownLength = true
            return exchange.answer(response)
        }
        if kind == .offCPU { offCPUPulled.note() }
        guard pulls.add(Pull(kind, seconds: seconds, instance: instance, command: name, exchange: exchange)) else {
            return exchange.answer(.line("\(Pull.mostAtOnce) pulls are running, which is the most. Try again.", status: 503, headers: [("Retry-After", "10")]))
        }
    }

    /// Of several values the first one counts. Nil: it makes no sense.
    private func seconds(_ request: ServerRequest) -> Double? {
        guard let text = request.value("seconds") else { return Self.defaultSeconds }
        guard text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) || $0 == UInt8(ascii: ".") }), let seconds = Double(text),
            (1...Pull.mostSeconds).contains(seconds)
        else { return nil }
        return seconds
    }
}

/// The counts of a server that is made after its routes.
final class ConnectionCounts: Sendable {
    private let server = Mutex<HTTPServer?>(nil)

    func set(_ server: HTTPServer) { self.server.withLock { $0 = server } }

    var now: (open: Int, refused: Int) { server.withLock { ($0?.connectionCount ?? 0, $0?.refusedCount ?? 0) } }
}

/// The page at `/`: the state of each server, and below it the last minutes of one of them.
struct StatusPage {
    private let rows: [ServeState.Row]
    private let totals: [String: RedisTotals]
    private let chosen: String?
    private let health: String

    init(rows: [ServeState.Row], totals: [String: RedisTotals], chosen: String?, _ health: String) {
        self.rows = rows
        self.totals = totals
        self.chosen = chosen
        self.health = health
    }

    private static let style = """
        html{color-scheme:light dark}body{margin:0 auto;max-width:1720px;padding:20px;font:14px/1.45 system-ui,sans-serif;font-variant-numeric:tabular-nums}
        h1{margin:0 0 6px;font-size:24px;font-weight:600}table{border-collapse:collapse;margin:10px 0}th,td{padding:3px 18px 3px 0;text-align:left;overflow-wrap:anywhere}
        td.number,th.number{text-align:right}iframe{width:100%;height:85vh;border:1px solid #8886;border-radius:8px;margin-top:12px}
        """

    /// HTML in UTF-8. Names, which strangers choose, are escaped by the writer; in addresses they are percent-encoded before.
    var html: [UInt8] {
        var out = MarkupWriter()
        out.literal(
            """
            <!doctype html>
            <html lang="en">
            <head>
            <meta charset="utf-8">
            <meta http-equiv="Content-Security-Policy" content="
            """)
        let style = Array(Self.style.utf8)
        out.escaped("default-src 'none'; style-src \(ContentSecurityPolicy.source(style)); frame-src 'self'; base-uri 'none'; form-action 'none'")
        out.literal(
            """
            ">
            <meta name="viewport" content="width=device-width, initial-scale=1">
            <title>kiln</title>
            <style>
            """)
        out.raw(style)
        out.literal("</style>\n</head>\n<body>\n<h1>kiln ")
        out.escaped(kilnVersion)
        out.literal("</h1>\n<p>")
        out.escaped(health)
        out.literal(
            ". <a href=\"/metrics\">Metrics</a>, <a href=\"/debug/pprof/profile?seconds=10\">profile of 10 s</a>, <a href=\"/debug/pprof/off_cpu?seconds=10\">off-CPU profile of 10 s</a></p>\n"
        )
        if !rows.isEmpty { table(&out) }
        let shown = rows.first { $0.instance == chosen && $0.isUp } ?? rows.first(where: \.isUp)
        if let shown {
            out.literal("<iframe title=\"The last minutes of ")
            out.escaped(shown.instance)
            out.literal("\" src=\"/report.html?instance=")
            out.escaped(percentEncoded(shown.instance))
            out.literal("\"></iframe>\n")
        }
        out.literal("</body>\n</html>\n")
        return out.bytes
    }

    private func table(_ out: inout MarkupWriter) {
        out.literal(
            "<table>\n<tr><th>Server<th>State<th>Process<th class=\"number\">pid<th>Container<th>Since<th class=\"number\">Calls/s<th class=\"number\">Calls<th class=\"number\">Errors<th>Report</tr>\n"
        )
        for row in rows {
            let counts = totals[row.instance], encoded = percentEncoded(row.instance)
            out.literal("<tr><td><a href=\"/?instance=")
            out.escaped(encoded)
            out.literal("\">")
            out.escaped(row.instance)
            out.literal("</a><td>")
            out.escaped(row.isUp ? "watched" : "not watched")
            out.literal("<td>")
            out.escaped(row.target.comm)
            out.literal("<td class=\"number\">")
            out.escaped("\(row.target.pid)")
            out.literal("<td>")
            out.escaped(row.target.container ?? "")
            out.literal("<td>")
            out.escaped(row.began.rfc3339)
            for number in [row.calls, counts?.calls, counts?.errors] {
                out.literal("<td class=\"number\">")
                out.escaped(number.map { grouped(UInt64(saturating: $0)) } ?? "")
            }
            out.literal("<td>")
            if row.isUp {
                out.literal("<a href=\"/report.html?seconds=10&amp;instance=")
                out.escaped(encoded)
                out.literal("\">record 10 s</a>")
            }
            out.literal("</tr>\n")
        }
        out.literal("</table>\n")
    }
}

/// As part of a URL's query.
private func percentEncoded(_ text: String) -> String {
    let digits = Array("0123456789ABCDEF")
    return text.utf8.reduce(into: "") { result, byte in
        let character = Character(Unicode.Scalar(byte))
        if character.isASCII, character.isLetter || character.isNumber || "-._~".contains(character) {
            result.append(character)
        } else {
            result += "%\(digits[Int(byte >> 4)])\(digits[Int(byte & 15)])"
        }
    }
}
