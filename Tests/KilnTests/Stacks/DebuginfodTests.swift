import Foundation
import Glibc
@testable import KilnSymbols
import TestSupport
import Testing

extension KernelTests {
    /// Debug files from a server, Debian's debuginfod, which serves a directory of the test.
    @Suite(.enabled(if: Program.canCompile && program("debuginfod") != nil, "needs a C compiler and debuginfod")) struct DebuginfodTests {
        private static let source = """
            #define INLINED static inline __attribute__((always_inline))
            volatile unsigned long sink;
            INLINED unsigned long inner(unsigned long x) { for (int i = 0; i < 2000; i++) sink = x = x * 6364136223846793005UL + i; return x; }
            __attribute__((noinline)) static void physical(void) { for (int i = 0; i < 1000; i++) sink = inner(sink); }
            int main(void) { for (;;) { physical(); sink++; } }
            """

        /// A server of the debug files in `files`.
        private final class Server {
            let files = temporaryDirectory()
            let url: String
            private let child: Child
            private let log: String

            /// `fill` puts files into the directory.
            init(_ fill: (String) throws -> Void) throws {
                let port = try freePort()
                url = "http://127.0.0.1:\(port)"
                log = temporaryDirectory() + "/log"
                try fill(files)
                child = try Child("debuginfod", ["-v", "-F", "-p", "\(port)", "-d", ":memory:", files], output: log, errors: log)
                guard eventually(within: 60, { self.text.contains("fts traversed") }) else { throw TestFailure("debuginfod does not start: \(text)") }
            }

            deinit {
                kill(child.pid, SIGTERM)
                _ = child.wait()
                for directory in [files, String(log.dropLast(4))] { try? FileManager.default.removeItem(atPath: directory) }
            }

            private var text: String { (try? String(contentsOfFile: log, encoding: .utf8)) ?? "" }
            /// The build IDs that it was asked for.
            var asked: [String] {
                text.split(separator: "\n").filter { $0.contains("GET /buildid/") }.compactMap {
                    $0.split(separator: "GET /buildid/").last?.split(separator: "/").first.map(String.init)
                }
            }
        }

        private static func run(_ program: String, _ arguments: String...) throws {
            guard try Child(program, arguments).wait() == 0 else { throw TestFailure("\(program) \(arguments) failed") }
        }

        /// A stripped program that runs; its debug file is moved to `debug`.
        private static func stripped(_ debug: String, _ options: [String] = []) throws -> Program {
            try Program(source, ["-O2", "-g", "-Wl,--build-id"] + options) { directory in
                let path = directory + "/program"
                try run("objcopy", "--only-keep-debug", path, debug)
                try run("strip", path)
                return [path]
            }
        }

        private static func buildID(_ path: String) throws -> String {
            let text = try Child.output(of: ["readelf", "-n", path])
            return try #require(text.split(separator: "Build ID: ").last?.split(separator: "\n").first.map(String.init))
        }

        private struct Run {
            let session: Session
            let said: String
        }

        private static func record(_ program: Program, _ options: [String], environment: [String] = []) throws -> Run {
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let kiln = try KilnRun(
                ["-p", "\(program.pid)", "-F", "499", "-o", directory + "/session"] + options, subcommand: "record",
                wrapper: ["env", "-u", "DEBUGINFOD_URLS", "DEBUGINFOD_CACHE_PATH=\(directory)/cache"] + environment)
            guard kiln.attached() else { throw TestFailure("kiln did not attach: \(kiln.errorText)") }
            try letWork(program.pid, seconds: 0.5)
            let status = kiln.stop()
            guard status == 0 else { throw TestFailure("kiln ended with \(status): \(kiln.errorText)") }
            return Run(session: try Session(directory: directory + "/session", output: kiln.outputText), said: kiln.errorText)
        }

        /// What holds BPF programs in their places: the descriptors of a process that are links or perf events.
        private static func links(of pid: Int32) throws -> [String] {
            let folder = "/proc/\(pid)/fd"
            return try FileManager.default.contentsOfDirectory(atPath: folder).compactMap {
                let target = try? FileManager.default.destinationOfSymbolicLink(atPath: "\(folder)/\($0)")
                return target.flatMap { $0.contains("perf_event") || $0.contains("bpf_link") || $0.contains("bpf-link") ? $0 : nil }
            }
        }

        @Test func missingDebugFilesAreFetchedByBuildIDIfThatIsAskedFor() throws {
            let place = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: place) }
            let debug = place + "/program.debug"
            let program = try Self.stripped(debug)
            let buildID = try Self.buildID(debug)
            let server = try Server { try FileManager.default.copyItem(atPath: debug, toPath: $0 + "/program.debug") }

            let unasked = try Self.record(program, [])
            #expect(unasked.session.stacks.samples(through: "main", "physical") == 0)
            #expect(server.asked.isEmpty)
            let refused = try Self.record(program, ["--debuginfod", ""], environment: ["DEBUGINFOD_URLS=\(server.url)"])
            #expect(refused.session.stacks.samples(through: "main", "physical") == 0)
            #expect(server.asked.isEmpty)

            for (options, environment) in [(["--debuginfod", server.url], []), ([], ["DEBUGINFOD_URLS=\(server.url)"])] {
                let run = try Self.record(program, options + ["--inline"], environment: environment)
                let recorded = run.session.record.samples.onCPU.recorded
                #expect(recorded > 100)
                #expect(run.session.stacks.samples(through: "main", "physical", "inner_[i]") > recorded * 9 / 10, "\(run.session.folded)\(run.said)")
                let names = try #require(run.session.record.samples.onCPU.names)
                #expect(names.named * 1000 >= names.frames * 999, "\(names)")
            }
            #expect(server.asked.filter { $0 == buildID }.count == 2)
        }

        @Test(.enabled(if: program("dwz") != nil, "needs dwz")) func theFileThatSeveralShareIsFetchedToo() throws {
            let place = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: place) }
            let program = try Self.stripped(place + "/one.debug", ["-gdwarf-4"])
            try Self.run("cp", place + "/one.debug", place + "/two.debug")
            try Self.run("dwz", "-m", place + "/common.debug", "-M", "/nowhere/common.debug", place + "/one.debug", place + "/two.debug")
            let server = try Server { files in
                for name in ["one", "common"] { try FileManager.default.copyItem(atPath: "\(place)/\(name).debug", toPath: "\(files)/\(name).debug") }
            }
            let run = try Self.record(program, ["--inline", "--debuginfod", server.url])
            #expect(run.session.stacks.samples(through: "main", "physical", "inner_[i]") > run.session.record.samples.onCPU.recorded * 9 / 10)
            #expect(server.asked.contains(try Self.buildID(place + "/common.debug")))
        }

        @Test func aServerThatLacksTheFileOrDoesNotAnswerCostsOneLineAndNoResult() throws {
            let place = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: place) }
            let program = try Self.stripped(place + "/program.debug")
            let server = try Server { _ in }
            let lacking = try Self.record(program, ["--debuginfod", server.url])
            #expect(lacking.said.split(separator: "\n").filter { $0.contains("debuginfod has no debug files of ") && $0.contains("/program") }.count == 1)
            #expect(lacking.session.folded.contains("program+0x"))
            let unreachable = try Self.record(program, ["--debuginfod", "http://127.0.0.1:\(try freePort())"])
            #expect(
                unreachable.said.split(separator: "\n").filter { $0.contains("debug files are missing: libdebuginfod: ") }.count == 1, "\(unreachable.said)")
            #expect(unreachable.session.folded.contains("program+0x"))
        }

        @Test func theFirstSignalWhileFetchingEndsThatAndNothingElse() throws {
            let place = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: place) }
            let program = try Self.stripped(place + "/program.debug")
            // Accepts connections, and says nothing.
            let silent = try ListeningSocket()
            let kiln = try KilnRun(
                ["-p", "\(program.pid)", "-F", "499", "-o", place + "/session", "--debuginfod", "http://127.0.0.1:\(silent.port)"], subcommand: "record",
                wrapper: ["env", "DEBUGINFOD_CACHE_PATH=\(place)/cache"])
            guard kiln.attached() else { throw TestFailure("kiln did not attach: \(kiln.errorText)") }
            try letWork(program.pid, seconds: 0.5)
            #expect(try !Self.links(of: kiln.pid).isEmpty)
            kill(kiln.pid, SIGINT)
            var connection = pollfd(fd: silent.descriptor, events: Int16(POLLIN), revents: 0)
            #expect(poll(&connection, 1, 20_000) == 1, "kiln asks the server")
            #expect(kiln.isRunning)
            // Nothing is attached while it waits for the server.
            let links = try Self.links(of: kiln.pid)
            #expect(links == [])
            #expect(kiln.stop() == 0)
            #expect(kiln.errorText.contains("fetching was interrupted"), "\(kiln.errorText)")
            let session = try Session(directory: place + "/session", output: kiln.outputText)
            #expect(session.record.samples.onCPU.recorded > 100 && session.folded.contains("program+0x"))
        }
    }
}
