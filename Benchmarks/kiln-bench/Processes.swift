import Foundation
import LoadClient
import KilnModel
import KilnTargets

struct BenchFailure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

func launch(_ command: [String], output: FileHandle = .nullDevice, errors: FileHandle = .nullDevice) throws -> Process {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = command
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = output
    process.standardError = errors
    try process.run()
    return process
}

/// A redis-server on CPU 0, loaded by redis-benchmark on CPU 1.
final class Server {
    private let process: Process
    let port: Int
    let clock: ProcessCPUClock

    var pid: Int32 { process.processIdentifier }

    private nonisolated(unsafe) static var nextPort = 17379

    /// With options of its own.
    init(_ options: [String] = []) throws {
        while true {
            let port = Self.nextPort
            Self.nextPort += 1
            let process = try launch([
                "taskset", "-c", "0", "redis-server", "--port", "\(port)", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
                "--dir", "/tmp",
            ] + options)
            for _ in 0..<100 where process.isRunning {
                usleep(20_000)
                // env and taskset replace themselves: the process is the server.
                if try Self.information(port).contains("process_id:\(process.processIdentifier)\r") {
                    self.process = process
                    self.port = port
                    clock = try ProcessCPUClock(pid: process.processIdentifier)
                    return
                }
            }
            process.terminate()
            guard port < 17479 else { throw BenchFailure("no redis-server would start on ports 17379 to 17479") }
        }
    }

    deinit {
        kill(pid, SIGKILL)
        process.waitUntilExit()
    }

    /// `share`: of the workload's commands.
    func load(_ workload: Workload, share: Double = 1) throws {
        let client = try launch(
            ["taskset", "-c", "1", "redis-benchmark", "-p", "\(port)", "-q", "-n", "\(Int(Double(workload.commands) * share))"] + workload.arguments
        )
        client.waitUntilExit()
        guard client.terminationStatus == 0 else { throw BenchFailure("redis-benchmark ended with \(client.terminationStatus)") }
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
        guard try launch(["redis-cli", "-p", "\(port)", "eval", script, "0"]).ended() == 0 else { throw BenchFailure("the server couldn't be filled") }
    }

    /// System calls for clients, as the server counts them.
    func receivesAndSends() throws -> (receives: Int, sends: Int) {
        var fields: [Substring: Int] = [:]
        for line in try Self.information(port).split(separator: "\r\n") {
            let parts = line.split(separator: ":", maxSplits: 1)
            if parts.count == 2, let value = Int(parts[1]) { fields[parts[0]] = value }
        }
        guard let receives = fields["total_reads_processed"], let sends = fields["total_writes_processed"] else {
            throw BenchFailure("the server doesn't count its reads and writes")
        }
        return (receives, sends)
    }

    private static func information(_ port: Int) throws -> String {
        let pipe = Pipe()
        let client = try launch(["redis-cli", "-p", "\(port)", "info", "everything"], output: pipe.fileHandleForWriting)
        try pipe.fileHandleForWriting.close()
        let text = pipe.fileHandleForReading.readDataToEndOfFile()
        client.waitUntilExit()
        return String(decoding: text, as: UTF8.self)
    }
}

/// Until a program says on its standard error that it watches.
private func awaitAttached(_ errors: Pipe, _ program: String) throws {
    var said = ""
    while !said.contains("attached to") {
        let piece = errors.fileHandleForReading.availableData
        guard !piece.isEmpty else { throw BenchFailure("\(program) did not attach: \(said)") }
        said += String(decoding: piece, as: UTF8.self)
    }
}

/// A run of kiln beside the load.
final class Session {
    private let process: Process
    private let directory: String
    /// Seconds from the start of the process to its word that it is attached.
    let attachedAfter: Double
    /// What it printed, once it has ended.
    private(set) var printed = ""

    var pid: Int32 { process.processIdentifier }

    init(_ kiln: String, _ pid: Int32, _ options: [String]) throws {
        directory = NSTemporaryDirectory() + "kiln-bench-\(UUID().uuidString)"
        let errors = Pipe()
        _ = FileManager.default.createFile(atPath: directory + ".out", contents: nil)
        let output = try FileHandle(forWritingTo: URL(fileURLWithPath: directory + ".out"))
        let start = Date()
        process = try launch(
            [kiln, "redis", "-p", "\(pid)", "-o", directory] + options, output: output, errors: errors.fileHandleForWriting
        )
        try errors.fileHandleForWriting.close()
        try awaitAttached(errors, kiln)
        attachedAfter = Date().timeIntervalSince(start)
    }

    /// End it and read its session.json; a count that is not the workload's is an error: a fast wrong number is none.
    @discardableResult
    func end(expecting workload: Workload?) throws -> SessionRecord {
        process.interrupt()
        process.waitUntilExit()
        defer {
            try? FileManager.default.removeItem(atPath: directory)
            try? FileManager.default.removeItem(atPath: directory + ".out")
        }
        printed = try String(contentsOfFile: directory + ".out", encoding: .utf8)
        guard process.terminationStatus == 0 else { throw BenchFailure("kiln ended with \(process.terminationStatus)") }
        let record = try JSONDecoder().decode(SessionRecord.self, from: Data(contentsOf: URL(fileURLWithPath: directory + "/session.json")))
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
    private let process: Process
    private let errors = Pipe()

    init(_ command: [String]) throws {
        process = try launch(command, errors: errors.fileHandleForWriting)
        try errors.fileHandleForWriting.close()
        try awaitAttached(errors, command[0])
    }

    /// What it says at its end.
    func end() -> String {
        process.interrupt()
        let said = errors.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return String(decoding: said, as: UTF8.self)
    }
}
