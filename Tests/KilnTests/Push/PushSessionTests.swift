import Foundation
import Glibc
import TestSupport
import Testing

@testable import KilnProfiles

extension KernelTests {
    /// `--push` of sessions.
    @Suite(.enabled(if: ProfileServer.canRun && Program.canCompile, "python3, curl, openssl or a C compiler is missing")) struct PushSessionTests {
        private static let busy = "volatile unsigned long sink; int main(void) { for (;;) sink++; }"

        /// Values of the last sample type, and the time.
        private func sum(_ request: ProfileServer.Request) throws -> (weight: Int64, start: Int64, end: Int64) {
            let profile = try Pprof_Profile(serializedBytes: Gzip.inflated(try #require(request.body)))
            return (profile.sample.reduce(0) { $0 + ($1.value.first ?? 0) }, profile.timeNanos, profile.timeNanos + profile.durationNanos)
        }

        @Test func eachPushHasWhatIsNew() throws {
            let server = try ProfileServer(["200"]), program = try Program(Self.busy), directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let kiln = try KilnRun(
                ["-p", "\(program.pid)", "-d", "25", "-o", directory + "/s", "--push", "http://127.0.0.1:\(server.port)/ingest", "--push-interval", "10"],
                subcommand: "record")
            #expect(kiln.wait() == 0, "\(kiln.errorText)")
            let session = try Session(directory: directory + "/s"), parts = try server.requests().map(sum)
            #expect(parts.count == 3 && parts.allSatisfy { $0.weight > 0 }, "\(parts)")
            #expect(parts.reduce(0) { $0 + $1.weight } == session.record.samples.onCPU.recorded, "\(parts)")
            // One ends where the next one begins.
            #expect(zip(parts, parts.dropFirst()).allSatisfy { $0.end == $1.start }, "\(parts)")
            #expect(kiln.errorText.contains("kiln: pushed to http://127.0.0.1:\(server.port)/ingest: 3 requests"))
        }

        @Test func aPushThatFailsLosesNothing() throws {
            let server = try ProfileServer(["401"]), program = try Program(Self.busy), directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let kiln = try KilnRun(
                ["-p", "\(program.pid)", "-d", "1", "-o", directory + "/s", "--push", "http://127.0.0.1:\(server.port)"], subcommand: "record")
            #expect(kiln.wait() == 1)
            let errors = kiln.errorText.split(separator: "\n").filter { $0.contains("push") }
            #expect(errors.count == 1 && errors[0].contains("it answers 401: busy") && errors[0].contains("kiln export DIR --push"), "\(kiln.errorText)")
            #expect(try Session(directory: directory + "/s").record.ended == "duration")
            #expect(access(directory + "/s/report.html", F_OK) == 0 && kiln.outputText.contains("wrote "))
        }

        @Test func ctrlCEndsTheSessionAndThenThePush() throws {
            let server = try ProfileServer(["nothing"]), redis = try RedisServer(), directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let kiln = try KilnRun(["-p", "\(redis.pid)", "-F", "999", "-o", directory + "/s", "--push", "http://127.0.0.1:\(server.port)/ingest"])
            #expect(kiln.attached())
            try redis.benchmark(["-n", "50000", "-t", "set"])
            kill(kiln.pid, SIGINT)
            #expect(eventually { (try? server.requests().count) == 1 }, "\(kiln.errorText)")
            // The files were there before.
            #expect(try Session(directory: directory + "/s").record.ended == "interrupted")
            #expect(access(directory + "/s/report.html", F_OK) == 0)
            #expect(kiln.stop() == 1)
            #expect(kiln.errorText.contains("it was interrupted. The session's files are complete"), "\(kiln.errorText)")
        }
    }
}
