import Foundation
import Glibc
import KilnModel
import KilnTargets
import TestSupport
import Testing

@testable import KilnProfiles

extension KernelTests {
    /// `kiln serve`.
    @Suite(.enabled(if: ServeRun.canRun && RedisServer.isInstalled, "curl or redis-server is missing")) struct ServeTests {
        @Test func countsAreThoseOfTheServer() throws {
            let redis = try RedisServer(), serve = try ServeRun(["-p", "\(redis.pid)"])
            let before = try redis.commandStatistics(), requests = load(20_011)
            try redis.benchmark(["-n", "\(requests)", "-t", "get,set"])
            let connection = try Connection(port: redis.port)
            _ = try connection.reply(to: "LPUSH", "key", "x")
            _ = try connection.reply(to: "GET", "key")
            let after = try redis.commandStatistics(), calls = try serve.settledCalls()
            for command in ["GET", "SET", "LPUSH"] { #expect(calls[command] == (after[command] ?? 0) - (before[command] ?? 0), "\(command)") }
            let metrics = try serve.metrics(), instance = metrics.keys.first { $0.hasPrefix("kiln_target_up{") }?.split(separator: "\"")[1] ?? ""
            #expect(instance.hasSuffix(":\(redis.port)"))
            #expect(metrics["kiln_redis_errors_total{command=\"GET\",error=\"WRONGTYPE\",instance=\"\(instance)\"}"] == 1)
            #expect(metrics["kiln_watched_ratio{instance=\"\(instance)\"}"] == 1)
            let service = "kiln_redis_command_duration_seconds_count{command=\"SET\",phase=\"service\",instance=\"\(instance)\"}"
            #expect(metrics[service] == Double(requests))
            #expect((metrics["kiln_redis_received_bytes_total{instance=\"\(instance)\"}"] ?? 0) > Double(requests) * 2 * 20)
        }

        /// promtool knows the rules of names and of the format.
        @Test(.enabled(if: program("promtool") != nil, "promtool is missing")) func promtoolHasNothingToSay() throws {
            let redis = try RedisServer(), serve = try ServeRun(["-p", "\(redis.pid)", "--off-cpu"]), connection = try Connection(port: redis.port)
            for words in [["GET", "a\"b\\c\nd"], ["no\"such\ncommand\\"], ["SET", "a", "1"], ["LPUSH", "a", "1"]] {
                try connection.send(request(words))
                _ = try connection.receive(until: "\r\n")
            }
            _ = try serve.settledCalls()
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let answer = try serve.get("/metrics")
            #expect(answer.type == "text/plain; version=0.0.4; charset=utf-8")
            try answer.body.write(to: URL(fileURLWithPath: directory + "/metrics"))
            let status = try Child(
                "sh", ["-c", "promtool check metrics < \(directory)/metrics"], output: directory + "/said", errors: directory + "/complaints"
            )
            .wait()
            let said = try ["said", "complaints"].map { try String(contentsOfFile: "\(directory)/\($0)", encoding: .utf8) }.joined()
            #expect(status == 0 && said.isEmpty, "\(said)")
        }

        /// Restart: the same series go on, and no rate is negative. Prometheus says so.
        @Test(.enabled(if: Prometheus.isInstalled, "prometheus is missing"), .tags(.timing)) func prometheusSeesOneSeriesOverARestart() throws {
            var redis: RedisServer? = try RedisServer()
            let port = try #require(redis?.port), serve = try ServeRun(["--port", "\(port)"]), prometheus = try Prometheus(scraping: UInt16(serve.port))
            try #require(prometheus.begins(), "\(prometheus.log.suffix(500))")
            try redis?.benchmark(["-n", "10007", "-t", "set"])
            usleep(2_500_000)
            redis = nil
            usleep(1_200_000)
            #expect(try serve.get("/healthz").text.hasPrefix("no server runs"))
            #expect(try serve.get("/debug/pprof/profile?seconds=1").status == 503)
            let next = try RedisServer(port: port)
            #expect(serve.watches())
            try next.benchmark(["-n", "10009", "-t", "set"])
            #expect(try serve.settledCalls()["SET"] == 20_016)
            usleep(1_500_000)
            let all = "kiln_redis_commands_total{command=\"SET\"}"
            #expect(try prometheus.query(all).map(\.value) == [20_016])
            #expect(try prometheus.query("resets(\(all)[1m])").map(\.value) == [0])
            #expect(try prometheus.query("min_over_time(deriv(\(all)[3s])[30s:1s]) >= -0.001").count == 1)
            #expect(try prometheus.query("kiln_target_starts_total").map(\.value) == [2])
        }

        /// Percentiles from buckets against those of a session of the same time, and rates against the server's own counts.
        @Test(.enabled(if: Prometheus.isInstalled, "prometheus is missing"), .tags(.timing)) func prometheusAgreesWithASessionAndTheServer() throws {
            let redis = try RedisServer(), serve = try ServeRun(["-p", "\(redis.pid)"]), prometheus = try Prometheus(scraping: UInt16(serve.port))
            try #require(prometheus.begins(), "\(prometheus.log.suffix(500))")
            let session = try Session.recording(pid: redis.pid) { try redis.benchmark(["-n", "\(load(150_001))", "-t", "get", "-c", "8"]) }
            _ = try serve.settledCalls()
            usleep(1_500_000)
            let latency = try #require(session.record.commands["GET"]?.phases["service"])
            for (share, known) in [(0.5, latency.p50Ns), (0.9, latency.p90Ns), (0.99, latency.p99Ns)] {
                let expression = "histogram_quantile(\(share), kiln_redis_command_duration_seconds_bucket{command=\"GET\",phase=\"service\"})"
                let quantile = try #require(try prometheus.query(expression).first?.value), seconds = Double(try #require(known)) / 1e9
                // Within the bucket: its bounds are a factor of 2 or 2.5 apart.
                #expect((seconds / 2.6...seconds * 2.6).contains(quantile), "\(share): \(quantile) and \(seconds)")
            }
            let counted = try #require(try redis.commandStatistics()["GET"])
            let total = try #require(try prometheus.query("kiln_redis_commands_total{command=\"GET\"}").first?.value)
            #expect(total == Double(counted))
        }

        @Test func serversMayComeLaterAndBeSeveral() throws {
            let ports = [try freePort(), try freePort()], serve = try ServeRun(ports.flatMap { ["--port", "\($0)"] }, waits: false)
            #expect(try serve.get("/healthz").text.hasPrefix("no server runs"))
            #expect(try serve.get("/debug/pprof/profile").status == 503)
            let first = try RedisServer(port: ports[0])
            #expect(serve.watches())
            let second = try RedisServer(port: ports[1])
            #expect(eventually(within: 15) { (try? serve.metrics()["kiln_targets"]) == 2 })
            try first.benchmark(["-n", "1009", "-t", "set"])
            try second.benchmark(["-n", "2003", "-t", "set"])
            _ = try serve.settledCalls()
            let sets = try serve.metrics().filter { $0.key.hasPrefix("kiln_redis_commands_total{command=\"SET\"") }
            #expect(sets.first { $0.key.contains(":\(ports[0])\"") }?.value == 1_009 && sets.first { $0.key.contains(":\(ports[1])\"") }?.value == 2_003)
        }

        private func profile(_ answer: ServeRun.Answer) throws -> Pprof_Profile {
            try #require(answer.status == 200 && answer.type == "application/octet-stream", "\(answer.status) \(answer.text)")
            return try Pprof_Profile(serializedBytes: Gzip.inflated(Array(answer.body)))
        }

        private func labels(_ profile: Pprof_Profile) -> [String: Set<String>] {
            profile.sample.flatMap(\.label).filter { $0.str != 0 }.reduce(into: [:]) {
                $0[profile.stringTable[Int($1.key)], default: []].insert(profile.stringTable[Int($1.str)])
            }
        }

        @Test(.tags(.timing)) func pullsOverlap() throws {
            let redis = try RedisServer(), serve = try ServeRun(["-p", "\(redis.pid)"])
            let busy = try Child("redis-benchmark", ["-p", "\(redis.port)", "-q", "-t", "get", "-n", "100000000", "-c", "4"])
            defer { kill(busy.pid, SIGKILL) }
            #expect(eventually(within: 10) { (try? serve.get("/metrics").text.contains("command=\"GET\"")) == true })
            let cut = try serve.begin("/debug/pprof/profile?seconds=60")
            let pulls = try ["profile?seconds=3", "profile?seconds=3&seconds=9", "command/get?seconds=2"].map { try serve.begin("/debug/pprof/\($0)") }
            usleep(500_000)
            kill(cut.curl.pid, SIGKILL)
            let profiles = try pulls.map { try profile($0.answer()) }
            for (profile, seconds) in zip(profiles, [3.0, 3, 2]) {
                #expect((seconds - 0.1...seconds + 1.5).contains(Double(profile.durationNanos) / 1e9))
                #expect(profile.sample.reduce(0) { $0 + $1.value[0] } > 20, "\(profile.sample.count)")
                #expect(labels(profile)["instance"]?.count == 1 && labels(profile)["thread"]?.isEmpty == false)
            }
            #expect(labels(profiles[2])["command"] == ["GET"])
            let whole = profiles[0].sample.reduce(0) { $0 + $1.value[0] }, same = profiles[1].sample.reduce(0) { $0 + $1.value[0] }
            #expect(abs(whole - same) <= 10, "\(whole) and \(same)")
            // What was cut off has left nothing behind.
            #expect(eventually(within: 5) { (try? serve.metrics()["kiln_http_connections"]) == 1 })
            #expect(try profile(serve.get("/debug/pprof/profile?seconds=1")).durationNanos > 900_000_000)
        }

        @Test(.enabled(if: program("go") != nil, "go is missing"), .tags(.timing)) func goReadsAPulledProfile() throws {
            let redis = try RedisServer(), serve = try ServeRun(["-p", "\(redis.pid)", "--off-cpu"])
            let busy = try Child("redis-benchmark", ["-p", "\(redis.port)", "-q", "-t", "get", "-n", "100000000", "-c", "4"])
            defer { kill(busy.pid, SIGKILL) }
            usleep(500_000)
            for (name, type) in [("profile", "cpu"), ("off_cpu", "off_cpu")] {
                // It adds seconds=2 by itself.
                let top = try Child.output(of: ["go", "tool", "pprof", "-seconds=2", "-top", serve.url("/debug/pprof/\(name)")])
                #expect(top.contains("File: redis-server") && top.contains("Type: \(type)\n") && top.contains("flat%"), "\(top)")
            }
        }

        @Test func offCPUIsRecordedWhileSomebodyPullsIt() throws {
            let redis = try RedisServer(), serve = try ServeRun(["-p", "\(redis.pid)"])
            let pulled = try profile(serve.get("/debug/pprof/off_cpu?seconds=1"))
            #expect(pulled.stringTable.contains("off_cpu") && labels(pulled)["state"]?.isEmpty == false)
            let metrics = try serve.metrics()
            #expect(metrics["kiln_sessions_total"] == 2)
            #expect(metrics.contains { $0.key.hasPrefix("kiln_unwatched_seconds_total{reason=\"profile\"") && $0.value < 5 })
            _ = try profile(serve.get("/debug/pprof/off_cpu?seconds=1"))
            #expect(try serve.metrics()["kiln_sessions_total"] == 2)
        }

        @Test func whatMakesNoSenseIsRefusedWithAReason() throws {
            let redis = try RedisServer(), serve = try ServeRun(["-p", "\(redis.pid)"])
            for seconds in ["0", "-1", "1e9", "301", "x", "", "0x10", "nan", "1%00"] {
                let answer = try serve.get("/debug/pprof/profile?seconds=\(seconds)")
                #expect(answer.status == 400 && answer.text.hasSuffix(".\n"), "\(seconds): \(answer.status)")
            }
            for path in ["allocs", "block", "goroutine", "mutex", "heap", "command", "command/", "command/NOSUCH?seconds=1", "profile?seconds=1&instance=x"] {
                #expect(try serve.get("/debug/pprof/\(path)").status == 404, "\(path)")
            }
            #expect(try serve.get("/metrics", ["-d", "x"]).status == 405)
            #expect(try serve.get("/../../etc/passwd", ["--path-as-is"]).status == 404)
        }

        @Test func pagesHaveTheServersAndTheirLastMinutes() throws {
            let redis = try RedisServer(), serve = try ServeRun(["-p", "\(redis.pid)"])
            let report = try serve.begin("/report.html?seconds=2")
            // It begins with an interval, of which an idle server has one a second.
            for _ in 0..<6 {
                try redis.benchmark(["-n", "109", "-t", "set"])
                usleep(400_000)
            }
            let recorded = try report.answer()
            #expect(recorded.status == 200 && recorded.type == "text/html; charset=utf-8" && recorded.text.contains("id=\"cells-0-"))
            let recent = try serve.get("/report.html"), page = try serve.get("/")
            #expect(recent.text.contains("redis-server on port \(redis.port)") && recent.text.contains("id=\"cells-0-"))
            #expect(page.text.contains("<iframe") && page.text.contains(":\(redis.port)</a>"))
        }

        @Test func otherHostsNeedAToken() throws {
            let redis = try RedisServer(), directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let refused = try KilnRun(["--listen", "0.0.0.0:0", "-p", "\(redis.pid)"], subcommand: "serve")
            #expect(refused.wait() != 0 && refused.errorText.contains("--listen 0.0.0.0:0 lets other hosts in: give --token-file"))
            try "secret-of-the-test\n".write(toFile: directory + "/token", atomically: true, encoding: .utf8)
            let serve = try ServeRun(["-p", "\(redis.pid)", "--token-file", directory + "/token"], waits: false)
            #expect(try serve.get("/metrics").status == 401)
            #expect(try serve.get("/metrics", ["-H", "Authorization: Bearer secret-of-the-test"]).status == 200)
        }

        /// A configuration that is refused changes nothing, and is taken over once nothing is wrong with it.
        @Test func aRefusedConfigurationIsReadAgain() throws {
            let first = try RedisServer(), second = try RedisServer(), directory = try TemporaryDirectory()
            func configure(_ pids: String) throws -> String { try directory.write(Array("pid = [\(pids)]\n".utf8), as: "kiln.toml").path }
            let serve = try ServeRun(["--config", try configure("\(first.pid)")]), none = 4_194_303
            _ = try configure("\(second.pid), \(none)")
            for times in 1...2 {
                kill(serve.kiln.pid, SIGHUP)
                let refused = "everything stays as it was"
                #expect(eventually { serve.kiln.errorText.components(separatedBy: refused).count == times + 1 }, "\(serve.kiln.errorText)")
            }
            #expect(!serve.kiln.errorText.contains("pid has changed"))
            _ = try configure("\(second.pid)")
            kill(serve.kiln.pid, SIGHUP)
            #expect(eventually { serve.kiln.errorText.contains("(redis-server, pid \(second.pid))") }, "\(serve.kiln.errorText)")
            #expect(serve.kiln.errorText.contains("kiln: pid has changed"))
        }

        /// Stacks are sampled no longer: what waits for them is answered, and no session ends for it.
        @Test func pullsEndWithTheSamples() throws {
            let redis = try RedisServer(), directory = try TemporaryDirectory()
            func configure(_ text: String) throws -> String { try directory.write(Array(text.utf8), as: "kiln.toml").path }
            let serve = try ServeRun(["-p", "\(redis.pid)", "--config", try configure("frequency = 99\n")])
            let pull = try serve.begin("/debug/pprof/off_cpu?seconds=30")
            #expect(eventually(within: 10) { (try? serve.metrics()["kiln_sessions_total"]) == 2 })
            // Until it is recorded.
            sleep(1)
            _ = try configure("frequency = 0\n")
            kill(serve.kiln.pid, SIGHUP)
            #expect(try profile(pull.answer()).durationNanos < 20_000_000_000)
            #expect(eventually(within: 10) { (try? serve.metrics()["kiln_sessions_total"]) == 3 })
            sleep(2)
            #expect(try serve.metrics()["kiln_sessions_total"] == 3)
            let refused = try KilnRun(["--frequency", "0", "--off-cpu"], subcommand: "serve")
            #expect(refused.wait() == 64 && refused.errorText.contains("--off-cpu records stacks, and --frequency 0 none"))
        }

        /// A budget changes the frequency during a pull: a sample stands for the mean.
        @Test(.tags(.timing)) func profilesUnderABudgetHaveTheServersCPUTime() throws {
            let redis = try RedisServer(), serve = try ServeRun(["-p", "\(redis.pid)", "--max-cost", "8", "--frequency", "997"])
            // Without a load, everything is watched.
            func isWhole() throws -> Bool { try serve.metrics().contains { $0.key.hasPrefix("kiln_watched_ratio") && $0.value == 1 } }
            #expect(eventually(within: 20) { (try? isWhole()) == true })
            sleep(4)
            let clock = try ProcessCPUClock(pid: redis.pid), before = try clock.nanoseconds(), pull = try serve.begin("/debug/pprof/profile?seconds=8")
            sleep(2)
            let busy = try Child("redis-benchmark", ["-p", "\(redis.port)", "-q", "-t", "get", "-n", "100000000", "-c", "50"])
            defer { kill(busy.pid, SIGKILL) }
            let pulled = try profile(pull.answer()), used = try clock.nanoseconds() - before
            let shown = pulled.sample.reduce(0) { $0 + $1.value[1] }
            // By the first frequency or the last it would be a fourth, or a multiple.
            #expect((0.4...2).contains(Double(shown) / Double(used)), "\(shown) ns of \(used) ns")
        }

        @Test func signalsEndItInOrder() throws {
            let redis = try RedisServer(), serve = try ServeRun(["-p", "\(redis.pid)"])
            kill(serve.kiln.pid, SIGHUP)
            usleep(500_000)
            #expect(serve.watches())
            let held = try LoadedPrograms.held(by: serve.kiln.pid)
            let pull = try serve.begin("/debug/pprof/profile?seconds=60")
            // An idle session looks for pulls once a second.
            sleep(3)
            #expect(serve.kiln.stop(signal: SIGTERM) == 0, "\(serve.kiln.errorText)")
            // What was recorded until then.
            #expect(try profile(pull.answer()).durationNanos < 30_000_000_000)
            #expect(!held.isEmpty && eventually(within: 5) { !held.contains(where: LoadedPrograms.exists) })
        }
    }
}
