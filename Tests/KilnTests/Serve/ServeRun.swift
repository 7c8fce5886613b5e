import Foundation
import Glibc
import TestSupport

/// A running `kiln serve` on a free port.
final class ServeRun {
    struct Answer {
        let status: Int
        let type: String
        let body: Data

        var text: String { String(decoding: body, as: UTF8.self) }
    }

    static let canRun = program("curl") != nil

    let kiln: KilnRun
    let port: Int
    private let directory = temporaryDirectory()
    private var files = 0

    /// - Parameter waits: Until it watches a server.
    init(_ arguments: [String], waits: Bool = true) throws {
        let kiln = try KilnRun(["--listen", "127.0.0.1:0", "--interval", "0.2"] + arguments, subcommand: "serve")
        func portTold() -> Int? {
            guard let url = kiln.errorText.range(of: "http://127.0.0.1:") else { return nil }
            return Int(kiln.errorText[url.upperBound...].prefix { $0.isNumber })
        }
        guard eventually(within: 20, { !kiln.isRunning || portTold() != nil }), let port = portTold() else {
            throw TestFailure("kiln serve did not begin: \(kiln.errorText)")
        }
        self.kiln = kiln
        self.port = port
        if waits, !watches() { throw TestFailure("kiln serve watches nothing: \(kiln.errorText)") }
    }

    deinit { try? FileManager.default.removeItem(atPath: directory) }

    func url(_ path: String) -> String { "http://127.0.0.1:\(port)\(path)" }

    /// Waits until it watches a server: the next interval counts.
    func watches() -> Bool { eventually(within: 20) { (try? self.get("/healthz").text.hasPrefix("watching")) == true } }

    func get(_ path: String, _ arguments: [String] = []) throws -> Answer { try begin(path, arguments).answer() }

    /// A request that is not waited for.
    func begin(_ path: String, _ arguments: [String] = []) throws -> Request {
        files += 1
        return try Request(["-s", "-m", "60"] + arguments + [url(path)], file: "\(directory)/\(files)")
    }

    struct Request {
        let curl: Child
        private let file: String

        fileprivate init(_ arguments: [String], file: String) throws {
            self.file = file
            curl = try Child("curl", ["-o", file, "-w", "%{http_code} %{content_type}"] + arguments, output: file + ".status")
        }

        func answer() throws -> Answer {
            _ = curl.wait()
            let status = (try? String(contentsOfFile: file + ".status", encoding: .utf8)) ?? ""
            let parts = status.split(separator: " ", maxSplits: 1)
            return Answer(
                status: parts.first.flatMap { Int($0) } ?? 0, type: parts.count > 1 ? String(parts[1]) : "",
                body: FileManager.default.contents(atPath: file) ?? Data())
        }
    }

    /// The samples of a scrape, by everything before the value.
    func metrics() throws -> [String: Double] {
        var samples: [String: Double] = [:]
        for line in try get("/metrics").text.split(separator: "\n") where !line.hasPrefix("#") {
            guard let blank = line.lastIndex(of: " "), let value = Double(line[line.index(after: blank)...]) else { throw TestFailure("\(line)") }
            guard samples.updateValue(value, forKey: String(line[..<blank])) == nil else { throw TestFailure("twice: \(line)") }
        }
        return samples
    }

    /// Calls by command, of all instances, once three scrapes in a row say the same: of an idle server an interval is five times as long.
    func settledCalls() throws -> [String: UInt64] {
        var last: [String: UInt64]?, same = 0
        for _ in 0..<40 {
            var calls: [String: UInt64] = [:]
            for (name, value) in try metrics() where name.hasPrefix("kiln_redis_commands_total{command=\"") {
                calls[String(name.split(separator: "\"")[1]), default: 0] += UInt64(value)
            }
            same = calls == last ? same + 1 : 0
            if same == 2 { return calls }
            last = calls
            usleep(1_100_000)
        }
        throw TestFailure("the counts don't come to rest")
    }
}

extension Prometheus {
    /// The values of an expression, by their labels.
    func query(_ expression: String) throws -> [[String: String]: Double] {
        guard let series = answer("query", "query", expression) as? [[String: Any]] else { throw TestFailure("no answer to \(expression): \(log.suffix(500))") }
        let values = series.map { series in
            (series["metric"] as? [String: String] ?? [:], (series["value"] as? [Any]).flatMap { $0.last as? String }.flatMap { Double($0) } ?? .nan)
        }
        return Dictionary(values, uniquingKeysWith: { first, _ in first })
    }

    /// Waits until it scrapes.
    func begins() -> Bool { eventually(within: 20) { (try? self.query("up == 1").count) == 1 } }
}
