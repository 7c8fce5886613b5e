import Dispatch
import KilnKernel
import KilnModel
import KilnProfiles
import KilnServer
import KilnSessions
import Synchronization

/// A request for what is recorded from now on, or was in the last minutes. All but `isGone` and what is `let` is used on the thread of the sessions only.
final class Pull: @unchecked Sendable {
    enum Kind: Equatable {
        case onCPU, offCPU
        /// The report page of so many seconds from now on.
        case report
        /// The report page of the last minutes.
        case recent

        /// As samples.jsonl has it.
        var name: String { self == .offCPU ? "off-cpu" : "on-cpu" }
    }

    static let mostSeconds = 300.0
    static let mostAtOnce = 32
    /// Of a report page, in bytes of rows.
    static let mostRows = 64 << 20

    let kind: Kind
    let seconds: Double
    /// Only this server; nil: all.
    let instance: String?
    /// Only this command, as `CommandName` shows it.
    let command: String?
    private let exchange: Exchange
    private let gone = Atomic(false)

    /// When it began to record; nil: not yet.
    var began: WallTime?
    var due = Nanoseconds.zero
    /// The end of the last part: of later intervals nothing was taken yet.
    var takenUntil = ""
    /// By server of the present session: its CPU time then, since the session began.
    var takenCPU: [Nanoseconds] = []
    var parts: [ProfilePart] = []
    /// Of a report: its server's rows by file, and what was counted before it began.
    var rows: [String: [UInt8]] = [:]
    var rowBytes = 0
    var base: SessionTotals?
    /// Of a report: its last interval has ended.
    var isComplete = false

    init(_ kind: Kind, seconds: Double, instance: String?, command: String? = nil, exchange: Exchange) {
        self.kind = kind
        self.seconds = seconds
        self.instance = instance
        self.command = command
        self.exchange = exchange
    }

    /// The client has gone.
    var isGone: Bool { gone.load(ordering: .relaxed) }

    /// Frees its place as soon as the client goes.
    func follow() { exchange.whenGone { [gone = self] in gone.gone.store(true, ordering: .relaxed) } }

    func answer(_ response: ServerResponse) { exchange.answer(response) }

    func begin(at time: WallTime) {
        guard began == nil else { return }
        began = time
        due = MonotonicClock.now() + Nanoseconds(UInt64(seconds * 1e9))
    }
}

/// What one session recorded of one server for a pull.
struct ProfilePart: Sendable {
    let instance: String
    let record: SessionRecord
    let samples: SampleRecords
    /// The CPU time in it, and the number of samples that it gives at the frequencies that there were.
    let cpu: Nanoseconds
    let expected: Double
}

/// The pulls that are not answered yet.
final class Pulls: Sendable {
    private struct Waiting {
        var new: [Pull] = []
        /// New ones and those that are being recorded.
        var count = 0
    }

    private let waiting = Mutex(Waiting())
    /// Makes answers, one after the other: this may take seconds.
    private let queue = DispatchQueue(label: "profiles")

    /// False: there are too many.
    func add(_ pull: Pull) -> Bool {
        let isTaken = waiting.withLock { waiting in
            guard waiting.count < Pull.mostAtOnce else { return false }
            waiting.new.append(pull)
            waiting.count += 1
            return true
        }
        if isTaken { pull.follow() }
        return isTaken
    }

    func takeNew() -> [Pull] {
        waiting.withLock { waiting in
            defer { waiting.new = [] }
            return waiting.new
        }
    }

    /// One has been answered, or its client has gone.
    func finish(_ pull: Pull, _ response: ServerResponse) {
        pull.answer(response)
        waiting.withLock { $0.count -= 1 }
    }

    /// Answers what takes time to make.
    func finish(_ pull: Pull, making response: @escaping @Sendable () -> ServerResponse) {
        queue.async { [self] in
            finish(pull, pull.isGone ? .line("gone") : response())
            releaseFreeMemory()
        }
    }

    /// Waits until the answers that are being made are made.
    func wait() { queue.sync {} }
}

/// The answers to pulls.
enum PullAnswer {
    static let noServer = ServerResponse.line("No server is watched now.", status: 503, headers: [("Retry-After", "5")])

    /// A profile of all parts, profile.proto, compressed.
    static func profile(_ kind: Pull.Kind, command: String?, parts: [ProfilePart], began: WallTime, ended: WallTime) -> ServerResponse {
        do {
            let start = UInt64(began.sinceEpoch * 1e9), end = UInt64(ended.sinceEpoch * 1e9)
            let unit: Profile.Unit = kind == .offCPU ? .nanoseconds : .samples(period: period(of: parts))
            let target = parts.first?.record.target, isOne = Set(parts.map(\.record.target.pid)).count == 1
            var whole = Profile(
                kind.name, unit, program: target.map { $0.exe ?? $0.comm } ?? "", pid: isOne ? target?.pid ?? 0 : 0,
                start: start, duration: end > start ? end - start : 0, version: kilnVersion)
            for part in parts where !part.samples.rows.isEmpty {
                let profile = try Profile(of: MemoryFiles(part.record, part.samples), version: kilnVersion)
                whole.add(profile, instance: part.instance) { command == nil || $0.command == command }
            }
            let bytes = Gzip.compressed(try ExportFormat.pprof.bytes(whole, ExportOptions()))
            return ServerResponse(type: "application/octet-stream", body: bytes, headers: [("Content-Disposition", "attachment; filename=\"profile.pb.gz\"")])
        } catch {
            return .line("The profile can't be made: \(error)", status: 500)
        }
    }

    /// The CPU time for which a sample stands, in nanoseconds: the mean, where a budget has changed the frequency.
    private static func period(of parts: [ProfilePart]) -> UInt64 {
        let cpu = parts.reduce(0) { $0 + $1.cpu.seconds }, expected = parts.reduce(0) { $0 + $1.expected }
        guard expected > 0 else { return UInt64(1_000_000_000 / max(parts.first?.record.samples.onCPU.frequencyHz ?? 99, 1)) }
        return UInt64(saturating: cpu / expected * 1e9)
    }

    /// The report page of one server.
    static func page(_ record: SessionRecord, _ samples: SampleRecords?, rows: [String: [UInt8]]) -> ServerResponse {
        do {
            return ServerResponse(type: "text/html; charset=utf-8", body: try reportPage(of: MemoryFiles(record, samples, rows: rows)))
        } catch {
            return .line("The page can't be made: \(error)", status: 500)
        }
    }
}
