import Foundation
import Glibc
import KilnModel
import KilnProfiles
import Synchronization
import TestSupport
import Testing

@testable import kiln

/// What is sent when, without a network.
struct PusherTests {
    /// A server that gives these verdicts in turn, and then accepts.
    private final class Server: Sendable {
        private let state: Mutex<(verdicts: [PushVerdict], bodies: [UInt8])>

        init(_ verdicts: [PushVerdict]) { state = Mutex((verdicts, [])) }

        var bodies: [UInt8] { state.withLock { $0.bodies } }

        @Sendable func send(_ request: PushRequest, isInterrupted: () -> Bool) -> PushVerdict {
            state.withLock { state in
                state.bodies += request.body.prefix(1)
                return state.verdicts.isEmpty ? .accepted(remark: nil) : state.verdicts.removeFirst()
            }
        }
    }

    private static let later = PushVerdict.later(reason: "busy", asked: nil)

    private var delays: PushDelays {
        var delays = PushDelays()
        (delays.first, delays.most, delays.mostAsked) = (0.001, 0.004, 0.01)
        return delays
    }

    private func requests(_ bodies: [UInt8], size: Int = 1) throws -> [PushRequest] {
        try bodies.map { PushRequest(url: try PushURL("http://a"), headers: [], body: [UInt8](repeating: $0, count: size)) }
    }

    @Test func whileItRunsARequestIsTriedUntilItIsAccepted() throws {
        let server = Server([PushVerdict](repeating: Self.later, count: 30) + [.accepted(remark: "old"), .accepted(remark: "old")])
        let pusher = try Pusher(delays: delays, send: server.send), list = try requests([1, 2, 3])
        pusher.add { list }
        #expect(eventually { server.bodies.count == 33 })
        let outcome = pusher.finish(until: { false })
        #expect(server.bodies == [UInt8](repeating: 1, count: 31) + [2, 3])
        #expect(outcome.sent == 3 && outcome.bytes == 3 && outcome.remarks == ["old"] && outcome.reason == nil)
    }

    @Test func atTheEndAttemptsAreBounded() throws {
        let server = Server([PushVerdict](repeating: Self.later, count: 1000))
        let pusher = try Pusher(delays: delays, send: server.send), list = try requests([1, 2])
        pusher.add { list }
        let outcome = pusher.finish(until: { false })
        #expect(server.bodies.count >= 5 && !server.bodies.contains(2))
        #expect(outcome.sent == 0 && outcome.unsent == 2 && outcome.reason == "busy (5 attempts)")
    }

    @Test func whatIsRefusedIsNotTriedAgain() throws {
        let server = Server([.refused(reason: "no"), .refused(reason: "never")]), told = Mutex<[String]>([])
        let pusher = try Pusher(delays: delays, tell: { reason in told.withLock { $0.append(reason) } }, send: server.send), list = try requests([1, 2, 3])
        pusher.add { list }
        #expect(eventually { server.bodies.count == 3 })
        let outcome = pusher.finish(until: { false })
        #expect(server.bodies == [1, 2, 3])
        #expect(outcome.sent == 1 && outcome.refused == 2 && outcome.reason == "no" && told.withLock { $0 } == ["no"])
    }

    @Test func theOldestMakeRoomWhileAServerIsAway() throws {
        let isAway = Mutex(true), sent = Mutex<[UInt8]>([])
        let pusher = try Pusher(
            delays: delays, backlog: PushBacklog(limit: 250),
            send: { request, _ in
                if isAway.withLock({ $0 }) { return Self.later }
                sent.withLock { $0 += request.body.prefix(1) }
                return .accepted(remark: nil)
            })
        for number in 1...4 {
            let list = try requests([UInt8(number)], size: 100), flag = Flag()
            pusher.add {
                flag.set()
                return list
            }
            #expect(eventually { flag.isSet })
        }
        isAway.withLock { $0 = false }
        let outcome = pusher.finish(until: { false })
        #expect(sent.withLock { $0 } == [3, 4] && outcome.sent == 2 && outcome.dropped == 2)
    }

    private final class Flag: Sendable {
        private let state = Mutex(false)
        var isSet: Bool { state.withLock { $0 } }
        func set() { state.withLock { $0 = true } }
    }

    @Test func stacksAreFoldedAtEachPush() {
        let seconds = [10.0, 15, 25, 86_400]
        let times = seconds.map { FoldingTimes.every(Nanoseconds(UInt64($0 * 1e9))).seconds }
        #expect(zip(seconds, times).allSatisfy { $1 <= 10 && abs(($0 / $1).rounded() - $0 / $1) < 1e-6 }, "\(times)")
        #expect(times[0] == 10 && times[1] == 7.5)
    }

    @Test func ctrlCEndsWaiting() throws {
        var long = PushDelays()
        (long.first, long.most) = (1000, 1000)
        let pusher = try Pusher(delays: long, send: { _, _ in Self.later }), list = try requests([1])
        pusher.add { list }
        let outcome = pusher.finish(until: { true })
        #expect(outcome.unsent == 1 && outcome.reason == "it was interrupted")
    }

    @Test func whatCannotBeMadeIsTold() throws {
        let pusher = try Pusher(delays: delays, send: { _, _ in .accepted(remark: nil) })
        pusher.add { throw Failure("broken") }
        #expect(pusher.finish(until: { false }).reason == "broken")
    }

    @Test(arguments: [
        (["--push", "ftp://a/ingest"], "no URL of http"), (["--push", "http://a/x"], "There are: http://HOST:4040/ingest"),
        (["--push-interval", "10"], "give --push"),
        (["--push", "http://a/ingest", "--push-interval", "9"], "give 10 to 86400 seconds"), (["--push-token-file", "x"], "give --push"),
        (["--push", "http://a/ingest", "-F", "0"], "give --frequency"), (["--push", "http://u:p@a/ingest"], "--push-token-file instead"),
    ])
    func optionsThatMakeNoSenseAreWrongUsage(arguments: [String], words: String) throws {
        let kiln = try KilnRun(arguments)
        #expect(kiln.wait() == 64 && kiln.errorText.contains(words), "\(kiln.errorText)")
    }

    @Test func exportSendsOrWrites() throws {
        for arguments in [["--format", "pprof"], ["-o", "x.pb"], ["--inlined-as-lines"]] {
            let kiln = try KilnRun(["x", "--push", "http://a/ingest"] + arguments, subcommand: "export")
            #expect(kiln.wait() == 64, "\(arguments)")
        }
    }
}
