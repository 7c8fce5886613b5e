import FoundationEssentials
import Glibc
import KilnHosts
import KilnKernel
import KilnModel
import PrintableText
import Synchronization

/// Prints what subcommands on other hosts print. Output of one host is printed as it comes. Lines of several hosts begin with their host, or become one
/// table.
final class HostPrinter: Sendable {
    private struct State {
        var output: [HostName: HostText] = [:]
        var errors: [HostName: HostText] = [:]
        /// What ssh says.
        var ssh: [HostName: HostText] = [:]
        var table: HostsTable?
    }

    private let state: Mutex<State>
    private let column: Int?
    private let json: Bool
    private let standardOutput = Output.standardOutput, standardError = Output.standardError

    /// - Parameters:
    ///   - json: The subcommand prints JSON lines: with several hosts, each gets the key `host`.
    ///   - table: They are for this table.
    init(_ hosts: [HostName], json: Bool, table: HostsTable?) {
        var state = State(table: table)
        for host in hosts {
            let isAlone = hosts.count == 1
            state.output[host] = HostText(hasBold: Output.standardOutput.isBold, hasProgress: isAlone)
            state.errors[host] = HostText(hasBold: Output.standardError.isBold, hasProgress: isAlone)
            state.ssh[host] = HostText(hasBold: false, hasProgress: false)
        }
        self.state = Mutex(state)
        self.json = json
        column = hosts.count > 1 ? max(4, hosts.map(\.description.count).max() ?? 0) : nil
    }

    /// From now on, a path of the other host is shown as the one here.
    func rename(_ host: HostName, _ there: String, _ here: String?) {
        guard let here, !there.isEmpty else { return }
        state.withLock { state in
            state.output[host]?.renamed = (there, here)
            state.errors[host]?.renamed = (there, here)
        }
    }

    /// Throws `OutputClosed` or `Failure` if standard output can't be written.
    func output(_ host: HostName, _ bytes: [UInt8]) throws {
        try state.withLock { state in
            let lines = state.output[host]?.lines(adding: bytes) ?? []
            try print(lines, of: host, progress: state.output[host]?.progress(), &state)
        }
    }

    func errors(_ host: HostName, _ bytes: [UInt8]) {
        state.withLock { state in say(state.errors[host]?.lines(adding: bytes) ?? [], of: host, progress: state.errors[host]?.progress()) }
    }

    func sshErrors(_ host: HostName, _ bytes: [UInt8]) {
        state.withLock { state in say(state.ssh[host]?.lines(adding: bytes) ?? [], of: host) }
    }

    /// Prints what has no end of line, and after the last host the rest of the table. Throws as `output` does.
    ///
    /// - Parameter directory: Where its files are here; nil: none have come.
    func end(_ host: HostName, directory: String?) throws {
        try state.withLock { state in
            say(state.errors[host]?.rest() ?? [], of: host)
            // The table gets its end even where the last line is refused: other hosts wait for it.
            let last = Result { try print(state.output[host]?.rest() ?? [], of: host, &state) }
            try standardOutput.write(state.table?.end(host, directory: directory) ?? [])
            try last.get()
        }
    }

    /// A line of kiln here.
    func say(_ host: HostName, _ line: String) { state.withLock { _ in say(["kiln: \(host): \(line)".printable], of: nil) } }

    private func print(_ lines: [String], of host: HostName, progress: String? = nil, _ state: inout State) throws {
        if state.table != nil {
            for line in lines { try standardOutput.write(try state.table?.add(line, of: host) ?? []) }
            return
        }
        var text = lines.map { labelled(host.description, $0) + "\n" }.joined()
        if let progress, column == nil { text += progress }
        if !text.isEmpty { try standardOutput.write(Array(text.utf8)) }
    }

    private func labelled(_ label: String, _ line: String) -> String {
        guard let column else { return line }
        // The last of equal keys counts, so another host can't take this one's name.
        if json, line.hasPrefix("{"), line.hasSuffix("}"), let name = try? JSONEncoder().encode(label) {
            return line.dropLast() + (line == "{}" ? "" : ",") + "\"host\":" + String(decoding: name, as: UTF8.self) + "}"
        }
        return label.padded(to: column) + "  " + line
    }

    private func say(_ lines: [String], of host: HostName?, progress: String? = nil) {
        guard !lines.isEmpty || progress != nil else { return }
        let text = lines.map { line in (column == nil ? line : host.map { "\($0): \(line)" } ?? line) + "\n" }.joined() + (column == nil ? progress ?? "" : "")
        try? standardError.write(Array(text.utf8))
    }
}
