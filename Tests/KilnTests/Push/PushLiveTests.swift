import Foundation
import Glibc
import TestSupport
import Testing

@testable import KilnProfiles
@testable import kiln

/// `kiln export --push` with a real curl and a server of our own.
@Suite(.enabled(if: ProfileServer.canRun, "python3, curl or openssl is missing"))
struct PushLiveTests {
    /// A session that nobody recorded, and a directory for temporary files.
    private final class Files {
        let directory = temporaryDirectory()
        var session: String { directory + "/session" }
        var temporary: String { directory + "/tmp" }

        init() throws {
            var generated = GeneratedSession()
            (generated.seconds, generated.hasOffCPU) = (10, true)
            try generated.write(to: URL(fileURLWithPath: session))
            try FileManager.default.createDirectory(atPath: temporary, withIntermediateDirectories: true)
        }

        deinit { try? FileManager.default.removeItem(atPath: directory) }

        func write(_ text: String, as name: String) throws -> String {
            try text.write(toFile: directory + "/" + name, atomically: true, encoding: .utf8)
            return directory + "/" + name
        }

        /// What transfers have left.
        var leftovers: [String] { (try? FileManager.default.contentsOfDirectory(atPath: temporary)) ?? ["?"] }
    }

    private let files: Files

    init() throws { files = try Files() }

    private func push(to url: String, _ arguments: [String] = [], environment: [String] = []) throws -> KilnRun {
        let unset = [
            "http_proxy", "https_proxy", "no_proxy", "all_proxy", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR",
        ]
        let fixed = unset.flatMap { ["-u", $0] } + ["TMPDIR=\(files.temporary)"]
        return try KilnRun([files.session, "--push", url] + arguments, subcommand: "export", wrapper: ["/usr/bin/env"] + fixed + environment)
    }

    /// The weights of what `kiln collapse` reads in a body.
    private func collapsed(_ body: [UInt8]) throws -> [String: UInt64] {
        let file = files.directory + "/body"
        try Data(body).write(to: URL(fileURLWithPath: file))
        return try folded(["pprof", file], "collapse")
    }

    private func folded(_ arguments: [String], _ subcommand: String) throws -> [String: UInt64] {
        let kiln = try KilnRun(arguments, subcommand: subcommand)
        #expect(kiln.wait() == 0, "\(kiln.errorText)")
        var weights: [String: UInt64] = [:]
        for line in kiln.outputText.split(separator: "\n") where !line.hasPrefix("#") {
            let blank = try #require(line.lastIndex(of: " "))
            weights[String(line[..<blank]), default: 0] += try #require(UInt64(line[line.index(after: blank)...]))
        }
        return weights
    }

    @Test func pyroscopeGetsEachKindAsExportWritesIt() throws {
        let server = try ProfileServer(["200"])
        let kiln = try push(to: "http://127.0.0.1:\(server.port)/ingest")
        #expect(kiln.wait() == 0 && kiln.errorText.hasPrefix("kiln: pushed to http://127.0.0.1:\(server.port)/ingest: 2 requests, "), "\(kiln.errorText)")
        let requests = try server.requests()
        #expect(requests.count == 2)
        for (request, kind) in zip(requests, ["on-cpu", "off-cpu"]) {
            let parameters = request.parameters
            #expect(parameters["name"] == "redis-server" && parameters["format"] == "pprof" && parameters["spyName"] == "kiln")
            #expect(parameters["from"] == "\(GeneratedSession.start)" && parameters["until"] == "\(GeneratedSession.start + 10)")
            #expect(parameters["sampleRate"] == (kind == "on-cpu" ? "99" : nil) && parameters["units"] == (kind == "on-cpu" ? "samples" : "nanoseconds"))
            #expect(request.headers["content-type"] == "application/octet-stream" && request.headers["content-encoding"] == nil)
            #expect(request.headers["user-agent"] == "kiln/\(kilnVersion)" && request.headers["authorization"] == nil && request.headers["expect"] == nil)
            let file = files.directory + "/written.pb.gz"
            let export = try KilnRun([files.session, "--kind", kind, "-o", file], subcommand: "export")
            #expect(export.wait() == 0)
            let sent = try collapsed(try #require(request.body))
            #expect(!sent.isEmpty)
            #expect(try sent == folded(["pprof", file], "collapse"))
        }
        #expect(files.leftovers == [])
    }

    @Test func aReceiverOfOTLPGetsWhatItKnows() throws {
        let server = try ProfileServer(["partial"])
        let kiln = try push(to: "http://localhost:\(server.port)", ["--kind", "on-cpu"])
        #expect(kiln.wait() == 0)
        let lines = kiln.errorText.split(separator: "\n")
        #expect(lines.count == 2 && lines[0].hasSuffix("has accepted the profiles, and says: 2 profiles were rejected: too\\x1bo"), "\(lines)")
        let request = try #require(try server.requests().first)
        #expect(request.path == "/v1development/profiles")
        #expect(request.headers["content-type"] == "application/x-protobuf" && request.headers["content-encoding"] == "gzip")
        let data = try OTLP_ProfilesData(serializedBytes: Gzip.inflated(try #require(request.body)))
        let profiles = data.resourceProfiles[0].scopeProfiles[0].profiles
        #expect(profiles.count == 1 && profiles[0].samples.flatMap(\.values).reduce(0, +) == 990)
        #expect(profiles[0].timeUnixNano == UInt64(GeneratedSession.start) * 1_000_000_000)
    }

    @Test func aBusyServerIsAskedAgain() throws {
        let server = try ProfileServer(["429:2", "503", "200"])
        let kiln = try push(to: "http://127.0.0.1:\(server.port)/ingest", ["--kind", "on-cpu"])
        #expect(kiln.wait() == 0, "\(kiln.errorText)")
        let times = try server.requests().map(\.time)
        try #require(times.count == 3)
        // As asked for, and twice the first delay after the second failure.
        #expect(times[1] - times[0] >= 2 && times[2] - times[1] >= 2)
        #expect(kiln.errorText.contains("Ctrl-C ends that"))
    }

    @Test func aRefusalIsOneLineThatObeysNobody() throws {
        let server = try ProfileServer(["hostile"])
        let kiln = try push(to: "http://127.0.0.1:\(server.port)/ingest?name=secret", ["--kind", "on-cpu"])
        #expect(kiln.wait() == 1)
        #expect(try server.requests().count == 1)
        let text = kiln.errorText
        #expect(
            text.hasPrefix("kiln: cannot push to http://127.0.0.1:\(server.port)/ingest: it answers 400: \\x1b[2J\\x1b]0;owned\\x07\\nkiln: pushed\\nzzz"),
            "\(text)")
        #expect(text.split(separator: "\n").count == 1 && text.utf8.count < 400 && !text.contains("\u{1b}"))
        #expect(files.leftovers == [])
    }

    @Test func oneKindMayBeRefusedAndAnotherNot() throws {
        let server = try ProfileServer(["413", "200"])
        let kiln = try push(to: "http://127.0.0.1:\(server.port)/ingest")
        #expect(kiln.wait() == 1)
        #expect(kiln.errorText.hasSuffix("it answers 413: busy. Of 2 requests 1 were not accepted.\n"), "\(kiln.errorText)")
    }

    @Test func aTokenGoesOnlyWhereItMay() throws {
        let other = try ProfileServer(["200"]), server = try ProfileServer(["redirect:http://127.0.0.1:\(other.port)/ingest"])
        let token = try files.write("s3cret\"\\\r\nsecond line\n", as: "token"), url = "http://127.0.0.1:\(server.port)/ingest"
        // Not to a proxy either.
        let kiln = try push(to: url, ["--kind", "on-cpu", "--push-token-file", token], environment: ["http_proxy=http://127.0.0.1:\(other.port)"])
        #expect(kiln.wait() == 1)
        #expect(kiln.errorText.contains("it answers 307, which leads to http://127.0.0.1:\(other.port)/ingest; kiln follows nothing"), "\(kiln.errorText)")
        #expect(try server.requests().map { $0.headers["authorization"] } == ["Bearer s3cret\"\\"])
        #expect(try other.requests().isEmpty)
        let refused = try push(to: "http://example.com/ingest", ["--push-token-file", token])
        #expect(refused.wait() == 64 && refused.errorText.contains("give a URL of https://"))
        for (text, name) in [
            ("a\tb", "tab"), ("", "empty"), ("\n", "line"), ("a b", "blank"), ("\u{1b}", "escape"), (String(repeating: "x", count: 9000), "long"),
        ] {
            let run = try push(to: url, ["--push-token-file", try files.write(text, as: name)])
            #expect(run.wait() == 1 && run.errorText.contains("its first line is no token"), "\(name): \(run.errorText)")
        }
        #expect(try server.requests().count == 1)
    }

    @Test func aProxyOfTheEnvironmentIsUsed() throws {
        let proxy = try ProfileServer(["200"])
        let kiln = try push(to: "http://profiles.invalid/ingest", ["--kind", "on-cpu"], environment: ["http_proxy=http://127.0.0.1:\(proxy.port)"])
        #expect(kiln.wait() == 0, "\(kiln.errorText)")
        #expect(try proxy.requests().first?.path.hasPrefix("http://profiles.invalid/ingest?") == true)
    }

    @Test func certificatesAreVerified() throws {
        func openssl(_ arguments: [String]) throws { #expect(try Child("openssl", arguments).wait() == 0) }
        let place = files.directory, curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        try openssl(["req", "-x509"] + curve + ["-days", "2", "-subj", "/CN=own authority", "-keyout", place + "/ca.key", "-out", place + "/ca.pem"])
        try openssl(["req"] + curve + ["-subj", "/CN=localhost", "-keyout", place + "/key.pem", "-out", place + "/request.pem"])
        let names = try files.write("subjectAltName=DNS:localhost\n", as: "names")
        try openssl(
            ["x509", "-req", "-in", place + "/request.pem", "-CA", place + "/ca.pem", "-CAkey", place + "/ca.key", "-CAcreateserial", "-days", "2"]
                + ["-extfile", names, "-out", place + "/certificate.pem"])
        let server = try ProfileServer(["200"], certificate: (place + "/certificate.pem", place + "/key.pem"))
        let url = "https://localhost:\(server.port)/ingest", token = try files.write("t", as: "token")
        for variable in ["CURL_CA_BUNDLE", "SSL_CERT_FILE"] {
            let kiln = try push(to: url, ["--kind", "on-cpu", "--push-token-file", token], environment: ["\(variable)=\(place)/ca.pem"])
            #expect(kiln.wait() == 0, "\(kiln.errorText)")
        }
        #expect(try server.requests().map { $0.headers["authorization"] } == ["Bearer t", "Bearer t"])
        let stranger = try push(to: url, ["--kind", "on-cpu"])
        #expect(stranger.wait() == 1 && stranger.errorText.contains("certificate problem"), "\(stranger.errorText)")
        #expect(try server.requests().count == 2)
    }

    @Test func settingsOfCurlAreNotRead() throws {
        let server = try ProfileServer(["200"])
        _ = try files.write("url = \"http://127.0.0.1:1/\"\nproxy = \"http://127.0.0.1:1\"\nuser-agent = \"else\"\n", as: ".curlrc")
        let kiln = try push(
            to: "http://127.0.0.1:\(server.port)/ingest", ["--kind", "on-cpu"], environment: ["HOME=\(files.directory)", "CURL_HOME=\(files.directory)"])
        #expect(kiln.wait() == 0, "\(kiln.errorText)")
        #expect(try server.requests().map { $0.headers["user-agent"] } == ["kiln/\(kilnVersion)"])
    }

    @Test func withoutCurlOneLineSaysWhatToInstall() throws {
        let kiln = try push(to: "http://127.0.0.1:1/ingest", environment: ["PATH=/nonexistent"])
        #expect(kiln.wait() == 1)
        #expect(kiln.errorText == "kiln: --push needs the program curl, and there is none on the search path. Install it: apt install curl\n")
    }

    @Test func nobodyElseSeesURLOrTokenAndCtrlCEndsATransfer() throws {
        let server = try ProfileServer(["nothing"])
        let token = try files.write("s3cret\n", as: "token")
        let kiln = try push(to: "http://127.0.0.1:\(server.port)/ingest?name=hidden", ["--kind", "on-cpu", "--push-token-file", token])
        #expect(eventually { (try? server.requests().count) == 1 })
        let children = try String(contentsOfFile: "/proc/\(kiln.pid)/task/\(kiln.pid)/children", encoding: .utf8)
        // The pushing thread's child is a child of that thread.
        let tasks = try FileManager.default.contentsOfDirectory(atPath: "/proc/\(kiln.pid)/task")
        let all = try tasks.map { try String(contentsOfFile: "/proc/\(kiln.pid)/task/\($0)/children", encoding: .utf8) } + [children]
        let curl = try #require(all.flatMap { $0.split(separator: " ") }.first)
        let words = FileManager.default.contents(atPath: "/proc/\(curl)/cmdline") ?? Data()
        #expect(words == Data("curl\0-q\0--config\0-\0".utf8))
        let directory = try #require(files.leftovers.first)
        func mode(_ name: String) throws -> Int {
            try #require(try FileManager.default.attributesOfItem(atPath: files.temporary + "/" + name)[.posixPermissions] as? Int)
        }
        #expect(try mode(directory) == 0o700)
        #expect(try mode(directory + "/body") == 0o600)
        #expect(kiln.stop() == 1)
        #expect(kiln.errorText.hasSuffix(": it was interrupted.\n"), "\(kiln.errorText)")
        #expect(files.leftovers == [])
        #expect(eventually(within: 5) { access("/proc/\(curl)", F_OK) != 0 })
    }

    /// The types by themselves, with short limits.
    @Suite(.enabled(if: ProfileServer.canRun, "python3, curl or openssl is missing")) struct CurlTests {
        private func outcome(_ answer: String) throws -> Curl.Outcome {
            let server = try ProfileServer([answer])
            var curl = try Curl()
            (curl.limit, curl.connectionLimit) = (1, 1)
            let url = try PushURL("http://127.0.0.1:\(server.port)/ingest")
            return curl.send(PushRequest(url: url, headers: ["Content-Type: a/b"], body: Array("x".utf8)), isInterrupted: { false })
        }

        @Test(arguments: ["nothing", "half"]) func whatMayHavePassedIsTriedAgain(answer: String) throws {
            guard case .none(.later(let reason, nil)) = try outcome(answer) else {
                Issue.record("it is not tried again")
                return
            }
            #expect(!reason.isEmpty && !reason.hasPrefix("curl:"), "\(reason)")
        }

        @Test func garbageIsRefused() throws {
            guard case .none(.refused) = try outcome("garbage") else {
                Issue.record("it is not refused")
                return
            }
        }

        @Test func aStatusCountsWhateverBecomesOfTheBody() throws {
            guard case .answer(let cut) = try outcome("cut"), case .answer(let endless) = try outcome("endless") else {
                Issue.record("there is no answer")
                return
            }
            #expect(cut.status == 200 && cut.body == Array("12345".utf8))
            #expect(endless.status == 400 && endless.body.count < 1 << 16)
        }

        @Test func nobodyListens() throws {
            let url = try PushURL("http://127.0.0.1:\(try freePort())/ingest")
            guard case .none(.later(let reason, nil)) = try Curl().send(PushRequest(url: url, headers: [], body: []), isInterrupted: { false }) else {
                Issue.record("it is not tried again")
                return
            }
            #expect(reason.hasPrefix("Failed to connect to 127.0.0.1"), "\(reason)")
        }
    }
}
