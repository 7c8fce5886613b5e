import Foundation
import Glibc
import KilnModel
import TestSupport
import Testing

extension KernelTests {
    /// Sessions that watch a part of the requests: what they estimate is held against what the server counted.
    @Suite struct BudgetTests {
        private static func estimate(_ session: Session, _ command: String) throws -> (record: SessionRecord.Command, estimate: CallsEstimateRecord) {
            let record = try #require(session.record.commands[command])
            return (record, try #require(record.estimate))
        }

        /// Within twice the distance to the ends of its interval: of intervals of 95 %, one in twenty doesn't contain the truth.
        private static func isNear(_ truth: UInt64, _ estimate: CallsEstimateRecord) throws -> Bool {
            let value = Double(estimate.callsEstimate), low = Double(try #require(estimate.callsLow)), high = Double(try #require(estimate.callsHigh))
            return low <= value && value <= high && (2 * low - value...2 * high - value).contains(Double(truth))
        }

        /// Samples by what they were taken of.
        private static func rows(_ session: Session) throws -> [SessionRecord.WorkRow] {
            let byCommand = try #require(session.record.samples.byCommand)
            return byCommand.commands + byCommand.rest.filter { $0.name != "child processes" }
        }

        /// Nothing was taken for what it isn't: a connection that is taken up in its middle loses nothing.
        private static let nothingLost: [String: UInt64] = [:]

        @Test(arguments: ["socket", "syscall"], [2, 8])
        func aShareOfTheConnectionsEstimatesAllOfThem(hook: String, divisor: Int) throws {
            let server = try RedisServer(), requests = load(400_000)
            let session = try Session.recording(pid: server.pid, ["--share", "1/\(divisor)", "--hook", hook, "--no-syscalls", "-F", "0"]) {
                try server.benchmark(["-t", "set", "-c", "64", "-n", "\(requests)"])
            }
            let truth = try #require(try server.commandStatistics()["SET"]), (record, estimate) = try Self.estimate(session, "SET")
            #expect(estimate.watchedShare == 1 / Double(divisor))
            #expect(try Self.isNear(truth, estimate), "\(truth) \(estimate)")
            #expect(record.count > truth / UInt64(divisor) / 2 && record.count < truth / UInt64(divisor) * 2)
            #expect(record.phases["service"]?.count ?? 0 > record.count / 2)
            #expect(session.record.lost == Self.nothingLost)
            #expect(session.record.watched?.leftOutConnections == true && session.record.waits.isEmpty)
            let rows = session.commandRows.filter { $0.command == "SET" && $0.phase == "service" }
            #expect(!rows.isEmpty && rows.allSatisfy { $0.estimate?.watchedShare == 1 / Double(divisor) })
            #expect(rows.reduce(0) { $0 + $1.calls } == record.count)
            #expect(session.output.contains("95 % INTERVAL") && session.output.contains("the others are left out"))
        }

        @Test func aPartOfTheTimeEstimatesAllOfIt() throws {
            let server = try RedisServer(), requests = load(600_000)
            let session = try Session.recording(pid: server.pid, ["--max-cost", "0.5"]) {
                try server.benchmark(["-t", "set", "-c", "50", "-n", "\(requests)"])
            }
            let truth = try #require(try server.commandStatistics()["SET"]), (record, estimate) = try Self.estimate(session, "SET")
            #expect(estimate.watchedShare > 0.001 && estimate.watchedShare < 0.9, "\(estimate)")
            #expect(try Self.isNear(truth, estimate), "\(truth) \(estimate)")
            #expect(record.count < truth && record.phases["service"]?.count ?? 0 > record.count / 2)
            // It begins with windows. Where the load begins late, shares fit the budget at first.
            #expect(session.record.lost == Self.nothingLost)
            // Samples whose work wasn't watched say so.
            #expect(try Self.rows(session).reduce(0) { $0 + $1.samples } == session.record.samples.onCPU.recorded)
        }

        @Test func unixSocketsAndPipelinesAreTakenUpInTheirMiddle() throws {
            let server = try RedisServer(), requests = load(1_000_000)
            for arguments in [["-s", server.unixSocket, "-c", "40"], ["-P", "16", "-c", "40"], ["-P", "16", "-c", "40", "-d", "5000"]] {
                let before = try server.commandStatistics()["SET"] ?? 0
                let session = try Session.recording(pid: server.pid, ["--share", "1/4", "--no-syscalls", "-F", "0"]) {
                    try server.benchmark(["-t", "set", "-n", "\(requests)"] + arguments)
                }
                let truth = try #require(try server.commandStatistics()["SET"]) - before, (_, estimate) = try Self.estimate(session, "SET")
                #expect(try Self.isNear(truth, estimate), "\(arguments): \(truth) \(estimate)")
                #expect(session.record.lost == Self.nothingLost, "\(arguments)")
                #expect(Set(session.counts.keys).isSubset(of: ["SET", "CONFIG", "CLIENT", "COMMAND"]), "\(session.counts.keys)")
            }
        }

        @Test func encryptedConnectionsAreInTheShare() throws {
            let keys = try TLSKeys(), server = try RedisServer(keys.arguments), requests = load(60_000)
            let session = try Session.recording(pid: server.pid, ["--share", "1/4", "--no-syscalls", "-F", "0"]) {
                guard try Child("redis-benchmark", keys.benchmark + ["-q", "-t", "set", "-c", "40", "-n", "\(requests)"]).wait() == 0 else {
                    throw TestFailure("redis-benchmark failed")
                }
            }
            let truth = try #require(try server.commandStatistics()["SET"]), (record, estimate) = try Self.estimate(session, "SET")
            #expect(try Self.isNear(truth, estimate), "\(truth) \(estimate)")
            #expect(record.phases["service"]?.count ?? 0 > record.count / 2)
        }

        /// A command that takes longer than a slice was received in one and is answered in another.
        @Test func whatIsInFlightBetweenSlicesIsAnswered() throws {
            let server = try RedisServer()
            let session = try Session.recording(pid: server.pid, ["--share", "1/2", "--no-syscalls", "-F", "0"]) {
                let clients = try (0..<8).map { _ in try Connection(port: server.port) }
                for _ in 0..<2 {
                    for client in clients { try client.send(request("DEBUG", "SLEEP", "0.15")) }
                    for client in clients { _ = try client.receive(until: "+OK\r\n") }
                }
                for client in clients { try client.send(request("BLPOP", "nothing", "0.7")) }
                for client in clients { _ = try client.receive(until: "*-1\r\n") }
            }
            let debug = try #require(session.record.commands["DEBUG"]), service = try #require(debug.phases["service"])
            #expect(debug.count > 0 && debug.count < 16 && service.count == debug.count)
            #expect(try #require(service.slots.first?.first) >= 140_000_000)
            let blocked = try #require(session.record.commands["BLPOP"])
            #expect(blocked.phases["wait"]?.count == blocked.count)
            #expect(session.record.lost == Self.nothingLost)
        }

        /// The first slices are watched in part, because the cost isn't known yet; what comes then is exact, and says so.
        @Test func aSessionWithinItsBudgetIsExactAfterItsFirstSlices() throws {
            let server = try RedisServer(), requests = load(300_000)
            let session = try Session.recording(pid: server.pid, ["--max-cost", "100"]) {
                try server.benchmark(["-t", "set", "-c", "20", "-n", "\(requests)"])
            }
            let limit = try #require(session.record.costLimit)
            // The first slice is short, and may look dearer than it is.
            #expect(limit.limitPercent == 100 && limit.steps.last?.step == "everything" && limit.steps.count <= 2, "\(limit.steps)")
            let truth = try #require(try server.commandStatistics()["SET"]), (record, estimate) = try Self.estimate(session, "SET")
            if estimate.callsLow != nil, estimate.callsHigh != nil { #expect(try Self.isNear(truth, estimate), "\(truth) \(estimate)") }
            #expect(estimate.watchedShare > 0.5 && record.count <= truth && Double(truth) < Double(estimate.callsEstimate) * 1.2)
            #expect(session.commandRows.last { $0.command == "SET" }?.estimate == nil)
            #expect(session.record.ended == "interrupted")
        }

        @Test func samplesOfWhatIsNotWatchedSaySo() throws {
            let server = try RedisServer()
            let session = try Session.recording(pid: server.pid, ["--share", "1/8", "-F", "999"]) {
                try server.benchmark(["-t", "set", "-c", "40", "-n", "\(load(300_000))"])
            }
            let rows = try Self.rows(session)
            #expect(rows.reduce(0) { $0 + $1.samples } == session.record.samples.onCPU.recorded)
            let unknown = rows.filter { $0.reason == "not watched" }.reduce(0) { $0 + $1.samples }
            #expect(unknown > session.record.samples.onCPU.recorded / 4, "\(unknown) of \(session.record.samples.onCPU.recorded)")
        }

        @Test(arguments: [
            (["--share", "1/3"], "--share"), (["--share", "0"], "--share"), (["--share", "1/128"], "--share"), (["--share", "0.5"], "--share"),
            (["--share", "1/2", "--max-cost", "3"], "--max-cost chooses the share itself"), (["--share", "1/2", "--audit"], "--audit compares all commands"),
            (["--max-cost", "3", "--client"], "server's side"), (["--max-cost", "3", "--syscall-latency"], "--syscall-latency costs more"),
        ])
        func whatMakesNoSenseIsRefused(options: [String], said: String) throws {
            let kiln = try KilnRun(["-p", "1"] + options)
            #expect(kiln.wait() == 64)
            #expect(kiln.errorText.contains(said), "\(kiln.errorText)")
        }
    }
}
