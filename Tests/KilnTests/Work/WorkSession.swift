import Foundation
import Glibc
import KilnModel
import TestSupport
import Testing

/// The module in Fixtures/known_work.c, compiled: a server that loads it has commands whose time is known.
final class KnownWork {
    private let directory: String
    /// How a server that runs in the tree `root` names it.
    private let inside: String

    init(in root: String? = nil) throws {
        directory = temporaryDirectory(in: (root ?? "") + "/tmp")
        inside = String(directory.dropFirst(root?.count ?? 0))
        let source = checkout.appendingPathComponent("Tests/KilnTests/Work/Fixtures/known_work.c").path
        let compiler = ["-shared", "-fPIC", "-fno-omit-frame-pointer", "-O1", "-pthread", "-o", directory + "/known_work.so", source]
        guard try Child("cc", compiler, errors: directory + "/errors").wait() == 0 else {
            throw TestFailure("cc failed: \((try? String(contentsOfFile: directory + "/errors", encoding: .utf8)) ?? "")")
        }
    }

    deinit { try? FileManager.default.removeItem(atPath: directory) }

    /// What makes a server load it.
    var arguments: [String] { ["--loadmodule", inside + "/known_work.so"] }

    /// A server that has loaded it.
    static func server(_ arguments: [String] = [], build: ServerBuild = .redis7) throws -> RedisServer {
        let module = try KnownWork(in: build.root)
        return try module.loaded(RedisServer(module.arguments + arguments, build: build))
    }

    /// A server with it that runs on one CPU.
    static func server(onCPU cpu: Int) throws -> RedisServer {
        let module = try KnownWork()
        return try module.loaded(RedisServer(module.arguments, command: ["taskset", "-c", "\(cpu)", "redis-server"]))
    }

    /// Once the server answers: it takes connections before it loads its modules.
    private func loaded(_ server: RedisServer) throws -> RedisServer {
        _ = try Connection(port: server.port).reply(to: "PING")
        return server
    }
}

/// A session of `kiln redis` whose stacks are labelled with what their threads worked on.
struct WorkSession {
    let record: SessionRecord
    /// All samples, without labels and with them: behind the process's name (and the thread's, with --threads) stands a command, and its phase, or
    /// `[event loop]` and so on.
    let merged, byCommand: Stacks
    /// The same of time off the CPU; nil without --off-cpu.
    let waits, waitsByCommand: Stacks?
    /// Those of the first event by command, if there is one.
    let events: Stacks?
    /// The same by interval.
    let samples: SampleFile
    let calls: [CommandCalls]
    private let showsIdle: Bool

    static let frequency = 4999

    /// Runs kiln on a server while `load` runs. Samples are many, so that sessions can be short.
    init(_ server: RedisServer, _ options: [String] = [], during load: () throws -> Void) throws {
        let directory = temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let own = ["-p", "\(server.pid)", "-F", "\(Self.frequency)", "-o", directory + "/s"]
        let kiln = try KilnRun(lightOptions + own + options)
        guard kiln.attached() else { throw TestFailure("kiln did not attach: \(kiln.errorText)") }
        do { try load() } catch {
            kiln.stop()
            throw error
        }
        let status = kiln.stop()
        guard status == 0 else { throw TestFailure("kiln ended with \(status): \(kiln.errorText)") }
        func stacks(_ name: String) -> Stacks? { (try? String(contentsOfFile: "\(directory)/s/\(name)", encoding: .utf8)).map(Stacks.init) }
        record = try Session(directory: directory + "/s").record
        merged = stacks("stacks.folded") ?? Stacks("")
        byCommand = stacks("stacks.by-command.folded") ?? Stacks("")
        waits = stacks("stacks.off-cpu.folded")
        waitsByCommand = stacks("stacks.off-cpu.by-command.folded")
        events = record.samples.events?.first.flatMap { stacks($0.file.replacing(".folded", with: ".by-command.folded")) }
        samples = try SampleFile(directory + "/s/samples.jsonl")
        calls = try CommandCalls.read(directory + "/s/commands.jsonl")
        showsIdle = options.contains("--idle")
    }

    var rows: [SessionRecord.WorkRow] { (record.samples.byCommand?.commands ?? []) + (record.samples.byCommand?.rest ?? []) }

    /// The slow calls of a command, or all that were asked for without a threshold; and the others.
    func judged(_ command: String) throws -> (slow: SessionRecord.KeptCalls.Calls, fast: (count: UInt64, serviceNs: UInt64)) {
        let calls = try #require(record.samples.keptCalls?.judged[command])
        return (try #require(calls.slow ?? calls.unjudged), (calls.fast?.count ?? 0, calls.fast?.serviceNs ?? 0))
    }

    /// Time between the first and the last send of replies, which no stack of the server has.
    static let betweenSends = "[between the sends of a reply]"

    /// What the intervals have adds up to the stacks, and a sample whose call's latency is known is where such calls are.
    private func expectIntervals(_ name: String, _ sourceLocation: SourceLocation) {
        #expect(samples.sums(of: "on-cpu", byCommand: false) == merged.sums, "\(name)", sourceLocation: sourceLocation)
        #expect(samples.sums(of: "on-cpu", byCommand: true) == byCommand.sums, "\(name)", sourceLocation: sourceLocation)
        if let waits, let waitsByCommand {
            let stacks = waitsByCommand.sums.filter { !$0.key.hasSuffix(Self.betweenSends) }
            #expect(samples.sums(of: "off-cpu", byCommand: false) == waits.sums, "\(name)", sourceLocation: sourceLocation)
            #expect(samples.sums(of: "off-cpu", byCommand: true) == stacks, "\(name)", sourceLocation: sourceLocation)
        }
        let astray = samples.samples.filter { $0.band != nil && !samples.hasCalls(for: $0, in: calls) }
        #expect(astray.isEmpty, "\(name): \(astray.prefix(5))", sourceLocation: sourceLocation)
    }

    /// Every sample, and every nanosecond, is in one place: what session.json has recorded and kept, the stacks, those by command, and the rows.
    func expectSums(_ name: String = "", sourceLocation: SourceLocation = #_sourceLocation) {
        let onCPU = record.samples.onCPU, kept = onCPU.kept ?? onCPU.recorded
        let samples = kept + (onCPU.descendants?.recorded ?? 0)
        let sums = [merged.total, byCommand.total, rows.map(\.samples).reduce(0, +)]
        #expect(sums == [samples, samples, samples], "\(name): \(sums), kept \(samples)", sourceLocation: sourceLocation)
        for row in record.samples.byCommand?.commands ?? [] {
            let phases = [row.execSamples, row.readSamples, row.replySamples].compactMap { $0 }.reduce(0, +)
            #expect(phases == row.samples, "\(name): \(row)", sourceLocation: sourceLocation)
        }
        expectIntervals(name, sourceLocation)
        #expect(record.lost["held_stacks_full"] == nil, "\(name): \(record.lost)", sourceLocation: sourceLocation)
        guard let off = record.samples.offCPU else { return }
        guard let waits, let waitsByCommand else {
            Issue.record("\(name): a file of waits is missing", sourceLocation: sourceLocation)
            return
        }
        let time = off.sleepingNs + off.uninterruptibleNs + off.runnableNs + off.stoppedNs, shown = time + (showsIdle ? off.idleNs : 0)
        let unread = waitsByCommand.samples(through: Self.betweenSends)
        let blocked = record.samples.keptCalls.map { kept in
            kept.judged.values.map { calls in
                ((calls.slow ?? calls.unjudged)?.sendBlockedNs ?? 0) + (kept.keepsFast ? calls.fast?.sendBlockedNs ?? 0 : 0)
            }.reduce(0, +)
        }
        #expect(unread == blocked ?? 0, "\(name)", sourceLocation: sourceLocation)
        let times = [waits.total, waitsByCommand.total - unread]
        #expect(times == [shown, shown], "\(name): \(times), recorded \(shown)", sourceLocation: sourceLocation)
        let inRows = rows.compactMap(\.offCPU)
        #expect(
            inRows.map(\.ns).reduce(0, +) == time && inRows.map(\.idleNs).reduce(0, +) == off.idleNs, "\(name): \(off)", sourceLocation: sourceLocation)
    }
}

extension Stacks {
    init(lines: [(frames: [String], samples: UInt64)]) { self.lines = lines }

    var total: UInt64 { lines.reduce(0) { $0 + $1.samples } }

    /// For what the stacks with a function are labelled: the frame behind the process's name, or with --threads the one behind the thread's.
    func owners(of function: String, at depth: Int = 1) -> [String: UInt64] {
        lines.reduce(into: [:]) { owners, line in
            if line.frames.contains(function), line.frames.count > depth { owners[line.frames[depth], default: 0] += line.samples }
        }
    }
}

extension RedisServer {
    /// One request after the other on a connection of its own, so often.
    func repeating(_ times: UInt64, _ requests: [String]...) throws {
        let client = try Connection(port: port)
        for _ in 0..<times { for words in requests { try client.ask(words) } }
    }
}

extension Connection {
    /// One request, and its reply of one line, or a bulk string of any length.
    func ask(_ words: [String]) throws {
        try send(request(words))
        var piece = [UInt8](repeating: 0, count: 1 << 18), line: [UInt8] = []
        func more() throws -> Int {
            let count = recv(fd, &piece, piece.count, 0)
            guard count > 0 else { throw TestFailure("the server closed the connection or was silent") }
            return count
        }
        while !line.contains(10) { line += piece[..<(try more())] }
        let text = String(decoding: line.prefix { $0 != 13 }, as: UTF8.self)
        guard text.hasPrefix("$"), let length = Int(text.dropFirst()), length >= 0 else { return }
        var left = text.utf8.count + 2 + length + 2 - line.count
        while left > 0 { left -= try more() }
    }
}
