import Foundation
import TestSupport
import Testing

@testable import kiln

/// Debian's Prometheus, which scrapes one target each second under the job `kiln`; ended with the value.
final class Prometheus {
    static let isInstalled = program("prometheus") != nil && program("curl") != nil

    private let child: Child
    private let directory: TemporaryDirectory
    private let port: UInt16

    init(scraping target: UInt16) throws {
        directory = try TemporaryDirectory()
        port = try freePort()
        let configuration = """
            global: {scrape_interval: 1s}
            scrape_configs:
            - {job_name: kiln, honor_labels: true, static_configs: [{targets: ["127.0.0.1:\(target)"]}]}
            """
        let file = try directory.write(Array(configuration.utf8), as: "prometheus.yml"), path = directory.url.path
        child = try Child(
            "prometheus", ["--config.file=\(file.path)", "--storage.tsdb.path=\(path)/data", "--web.listen-address=127.0.0.1:\(port)"],
            output: path + "/log", errors: path + "/log")
    }

    deinit {
        kill(child.pid, SIGKILL)
        child.wait()
    }

    var log: String { (try? String(contentsOfFile: directory.url.path + "/log", encoding: .utf8)) ?? "" }

    /// What a query or a label has now: series, or values; nil if Prometheus refuses it or is not there yet.
    func answer(_ path: String, _ name: String, _ query: String) -> [Any]? {
        guard let text = try? Child.output(of: ["curl", "-sfG", "http://127.0.0.1:\(port)/api/v1/\(path)", "--data-urlencode", "\(name)=\(query)"]),
            let root = try? JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any]
        else { return nil }
        return root["data"] as? [Any] ?? (root["data"] as? [String: Any])?["result"] as? [Any]
    }
}

extension KernelTests {
    /// What `grafana/kiln-redis.json` asks, of a Prometheus that scrapes `kiln serve` under load.
    @Suite(.enabled(if: Prometheus.isInstalled, "prometheus or curl is missing"))
    struct DashboardQueryTests {
        /// Clients that read, write, and connect anew for each request; until the end.
        private func clients(of server: RedisServer) throws -> [Child] {
            try [["-c", "20", "-t", "get,set"], ["-c", "2", "-k", "0", "get", "x"]].map {
                try Child("redis-benchmark", ["-p", "\(server.port)", "-q", "-l", "-n", "2000"] + $0)
            }
        }

        @Test func everyQueryReturnsData() throws {
            let server = try RedisServer(), dashboard = try Dashboard(), port = try freePort(), directory = try TemporaryDirectory()
            let clients = try clients(of: server)
            defer { for client in clients { kill(client.pid, SIGKILL); client.wait() } }
            // The end of a request whose beginning kiln has not seen is lost.
            let late = try Connection(port: server.port), request = request("SET", "list", "value")
            try late.send(request[..<10])
            func configuration(frequency: Int) throws -> String {
                let text = "listen = \"127.0.0.1:\(port)\"\nport = \(server.port)\nfrequency = \(frequency)\n"
                return try directory.write(Array(text.utf8), as: "kiln.toml").path
            }
            let kiln = try KilnRun(["--config", try configuration(frequency: 49)], subcommand: "serve")
            defer { kiln.stop() }
            try #require(eventually { kiln.errorText.contains("watching") || !kiln.isRunning } && kiln.isRunning, "\(kiln.errorText)")
            // Between two sessions nothing is watched.
            _ = try configuration(frequency: 9)
            sleep(2)
            try late.send(request[10...])
            try late.receive(until: "+OK\r\n")
            kill(kiln.pid, SIGHUP)
            #expect(eventually { kiln.errorText.contains("kiln: frequency has changed\n") }, "\(kiln.errorText)")
            let prometheus = try Prometheus(scraping: port)
            // Known only where the kernel's run-time statistics are on.
            var waiting = dashboard.queries.filter { !$0.expression.contains("kiln_overhead_ratio") }
            let isAnswered = eventually(within: 60) {
                _ = try? late.reply(to: "LPUSH", "list", "no list")
                waiting.removeAll { prometheus.answer("query", "query", $0.expression)?.isEmpty == false }
                return waiting.isEmpty || !kiln.isRunning
            }
            #expect(isAnswered && waiting.isEmpty, "\(waiting) \(kiln.errorText) \(prometheus.log.suffix(2000))")
            for choice in dashboard.choices {
                #expect(prometheus.answer("label/\(choice.label)/values", "match[]", choice.series)?.isEmpty == false, "\(choice)")
            }
            // Valid, though nothing may have happened.
            for expression in dashboard.annotations + dashboard.queries.map(\.expression) {
                #expect(prometheus.answer("query", "query", expression) != nil, "\(expression)")
            }
        }
    }
}
