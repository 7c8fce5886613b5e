import Foundation
import LoadClient
import KilnModel
import KilnTargets
import TestSupport

struct BenchFailure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

func launch(_ command: [String], output: String = "/dev/null", errors: String = "/dev/null") throws -> Child {
    try Child(command[0], Array(command.dropFirst()), output: output, errors: errors)
}

/// Ask a program for its end, and wait.
@discardableResult
func interrupt(_ child: Child) -> Int32 {
    kill(child.pid, SIGINT)
    return child.wait()
}

/// A redis-server on CPU 0, loaded by redis-benchmark on CPU 1.
final class Server {
    private let server: RedisServer
    let clock: ProcessCPUClock

    var pid: Int32 { server.pid }
    var port: Int { Int(server.port) }

    /// With options of its own.
    init(_ options: [String] = []) throws {
        // taskset replaces itself: the process is the server.
        server = try RedisServer(options, command: ["taskset", "-c", "0", "redis-server"], bind: ["127.0.0.1"])
        clock = try ProcessCPUClock(pid: server.pid)
    }

    /// `share`: of the workload's commands.
    func load(_ workload: Workload, share: Double = 1) throws {
        let status = try launch(
            ["taskset", "-c", "1", "redis-benchmark", "-p", "\(port)", "-q", "-n", "\(Int(Double(workload.commands) * share))"] + workload.arguments
        ).wait()
        guard status == 0 else { throw BenchFailure("redis-benchmark ended with \(status)") }
    }

    /// Ends when the request's seconds are over. `traffic`: what to call it where it fails. `cpuNs`: of the server.
    func load(_ request: load_request, traffic: String) throws -> (result: load_result, cpuNs: UInt64) {
        var request = request, result = load_result()
        request.port = Int32(port)
        request.cpu = 1
        let before = try clock.nanoseconds()
        let error = load_client_run(&request, &result)
        guard error == 0, result.commands > 0 else { throw BenchFailure("the client failed under \(traffic): \(String(cString: strerror(-error)))") }
        return (result, try clock.nanoseconds() - before)
    }

    /// Leaves the keys `key:000000000000` on, 10,000 of three bytes, and no others.
    func flush() throws {
        let script = "redis.call('FLUSHALL') for i = 0, 9999 do redis.call('SET', string.format('key:%012d', i), 'xxx') end"
        guard try launch(["redis-cli", "-p", "\(port)", "eval", script, "0"]).wait() == 0 else { throw BenchFailure("the server couldn't be filled") }
    }

    /// System calls for clients, as the server counts them.
    func receivesAndSends() throws -> (receives: Int, sends: Int) {
        var fields: [Substring: Int] = [:]
        for line in try Connection(port: server.port).reply(to: "INFO", "everything").split(separator: "\r\n") {
            let parts = line.split(separator: ":", maxSplits: 1)
            if parts.count == 2, let value = Int(parts[1]) { fields[parts[0]] = value }
        }
        guard let receives = fields["total_reads_processed"], let sends = fields["total_writes_processed"] else {
            throw BenchFailure("the server doesn't count its reads and writes")
        }
        return (receives, sends)
    }
}

/// Until a program says on its standard error that it watches; looked at each millisecond, because this is measured.
private func awaitAttached(_ child: Child, _ errors: String, _ program: String) throws {
    func said() -> String { (try? String(contentsOfFile: errors, encoding: .utf8)) ?? "" }
    while !said().contains("attached to") {
        guard child.isRunning else { throw BenchFailure("\(program) did not attach: \(said())") }
        usleep(1000)
    }
}

/// A run of kiln beside the load.
final class Session {
    private let child: Child
    private let directory = temporaryDirectory()
    /// Seconds from the start of the process to its word that it is attached.
    let attachedAfter: Double
    /// What it printed, once it has ended.
    private(set) var printed = ""

    var pid: Int32 { child.pid }

    init(_ kiln: String, _ pid: Int32, _ options: [String]) throws {
        let start = Date()
        child = try launch(
            [kiln, "redis", "-p", "\(pid)", "-o", directory + "/session"] + options, output: directory + "/out", errors: directory + "/err"
        )
        try awaitAttached(child, directory + "/err", kiln)
        attachedAfter = Date().timeIntervalSince(start)
    }

    deinit { try? FileManager.default.removeItem(atPath: directory) }

    /// End it and read its session.json; a count that is not the workload's is an error: a fast wrong number is none.
    @discardableResult
    func end(expecting workload: Workload?) throws -> SessionRecord {
        let status = interrupt(child)
        guard status == 0 else { throw BenchFailure("kiln ended with \(status)") }
        printed = try String(contentsOfFile: directory + "/out", encoding: .utf8)
        let record = try JSONDecoder().decode(SessionRecord.self, from: Data(contentsOf: URL(fileURLWithPath: directory + "/session/session.json")))
        if let workload {
            let name = workload.name.prefix(3)
            let counted = record.commands[String(name)]?.count ?? 0
            guard counted >= workload.commands, counted < workload.commands + 1000 else {
                throw BenchFailure("kiln counted \(counted) of \(workload.commands) \(name)")
            }
        }
        return record
    }
}

/// A program that watches until SIGINT and says when it does.
final class Watcher {
    private let child: Child
    private let directory = temporaryDirectory()

    init(_ command: [String]) throws {
        child = try launch(command, errors: directory + "/err")
        try awaitAttached(child, directory + "/err", command[0])
    }

    deinit { try? FileManager.default.removeItem(atPath: directory) }

    /// What it says, up to its end.
    func end() throws -> String {
        interrupt(child)
        return try String(contentsOfFile: directory + "/err", encoding: .utf8)
    }
}
