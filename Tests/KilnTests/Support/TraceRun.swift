import Foundation
import Glibc
import KilnModel

/// A finished `kiln trace redis`.
struct TraceRun {
    let output: String
    /// What it said at its end.
    let said: String

    /// The lines of --json but the last.
    func rows() throws -> [TraceRow] {
        try output.split(separator: "\n").dropLast().map { try JSONDecoder().decode(TraceRow.self, from: Data($0.utf8)) }
    }

    /// The last line of --json.
    func summary() throws -> TraceEnd.Summary {
        guard let last = output.split(separator: "\n").last else { throw TestFailure("no lines: \(said)") }
        return try JSONDecoder().decode(TraceEnd.self, from: Data(last.utf8)).summary
    }

    /// What it counted as lost under a name.
    func lost(_ name: String) -> UInt64 {
        let words = said.split(whereSeparator: { " ,\n".contains($0) })
        guard let at = words.firstIndex(of: Substring(name)), at > 0 else { return 0 }
        return UInt64(words[at - 1]) ?? 0
    }

    /// Trace a process while `load` runs.
    static func recording(pid: Int32, hook: String, _ arguments: [String] = ["--json"], during load: (KilnRun) throws -> Void) throws -> TraceRun {
        let kiln = try KilnRun(["redis", "-p", "\(pid)", "--hook", hook] + arguments, subcommand: "trace")
        guard kiln.attached() else { throw TestFailure("kiln did not attach: \(kiln.errorText)") }
        do { try load(kiln) } catch {
            kiln.stop()
            throw error
        }
        let status = kiln.stop()
        guard status == 0 else { throw TestFailure("kiln ended with \(status): \(kiln.errorText)") }
        return TraceRun(output: kiln.outputText, said: kiln.errorText)
    }
}

extension Connection {
    /// As a trace names this client.
    var localAddress: String {
        var address = sockaddr_in()
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let result = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(fd, $0, &length) }
        }
        return result == 0 ? "127.0.0.1:\(UInt16(bigEndian: address.sin_port))" : ""
    }
}
