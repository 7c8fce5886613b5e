import Foundation
import Glibc
import KilnModel
import TestSupport

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

func contains(_ bytes: [UInt8], _ text: String) -> Bool { Data(bytes).range(of: Data(text.utf8)) != nil }

extension KilnRun {
    /// All that the process has mapped of BPF maps: what left the kernel by a ring is in it until the ring has come round.
    func mappedOfBPF() throws -> [UInt8] {
        let memory = open("/proc/\(pid)/mem", O_RDONLY | O_CLOEXEC)
        guard memory >= 0, let maps = fopen("/proc/\(pid)/maps", "re") else { throw TestFailure("cannot read the memory of \(pid): \(errno)") }
        defer { close(memory); fclose(maps) }
        var bytes: [UInt8] = [], text = [CChar](repeating: 0, count: 4096)
        while fgets(&text, Int32(text.count), maps) != nil {
            let line = String(cString: text)
            guard line.contains("bpf-map") else { continue }
            let ends = line.prefix { $0 != " " }.split(separator: "-").compactMap { Int($0, radix: 16) }
            var piece = [UInt8](repeating: 0, count: ends[1] - ends[0])
            guard pread(memory, &piece, piece.count, ends[0]) == piece.count else { throw TestFailure("cannot read \(line): \(errno)") }
            bytes += piece
        }
        return bytes
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
