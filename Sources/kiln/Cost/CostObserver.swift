import FoundationEssentials
import Glibc
import KilnKernel
import KilnModel
import KilnTargets

/// An observer that watches the target in some windows and not in others.
protocol CostObserver: AnyObject {
    /// Its name in the output.
    var name: String { get }
    /// Starts the observer. Returns when it watches.
    func start() throws
    /// Stops the observer. Returns when it has ended, with the session's record if it was a session.
    func stop() throws -> SessionRecord?
}

/// No observer: shows the error of the measurement itself.
final class NoObserver: CostObserver {
    let name = "nothing"
    func start() {}
    func stop() -> SessionRecord? { nil }
}

/// A program that prints `: attached to` on standard error when it watches, and ends in order on SIGINT: a session of kiln with a temporary
/// directory, or another program.
final class ObservingProgram: CostObserver {
    let name: String
    private let arguments: [String]
    /// The program is a session of kiln, with a directory that is removed afterwards.
    private let isSession: Bool
    private var running: (command: ChildCommand, errors: Int32, directory: String?)?

    /// The time limit, in seconds, for attaching and for ending, which includes symbol lookup.
    private static let patience = 60.0

    init(_ arguments: [String]) {
        self.arguments = arguments
        name = arguments.joined(separator: " ")
        isSession = false
    }

    /// `kiln redis` with these options. If this kiln is killed, the session ends after at most `longest` seconds and removes its directory.
    init(session options: [String], of target: Target, longest: Double) {
        // By its own name, if there still is a file: that of a kiln that another host has sent is removed.
        let file = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        let own = file.flatMap { access($0, X_OK) == 0 ? $0 : nil } ?? "/proc/self/exe"
        arguments = [own, "redis", "--pid", "\(target.pid)", "--duration", "\(longest)", "--parent", "\(getpid())"] + options
        name = (["kiln redis"] + options).joined(separator: " ")
        isSession = true
    }

    deinit { _ = try? stop() }

    func start() throws {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { throw Failure("cannot make a pipe: \(errorText(errno)).") }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        let directory = isSession ? Self.freshDirectory() : nil
        do {
            let place = directory.map { ["--output", $0] } ?? []
            let command = try startedCommand(arguments + place, errors: ends[1])
            running = (command, ends[0], directory)
            close(ends[1])  // so that reading ends with the program
        } catch {
            for end in ends { close(end) }
            throw error
        }
        let said = words(until: ": attached to")
        guard said.contains(": attached to") else {
            _ = try? stop()
            throw Failure(
                "`\(name)` didn't begin to watch: \(said.split(separator: "\n").last.map(String.init) ?? "it printed nothing for \(Int(Self.patience)) s").")
        }
    }

    func stop() throws -> SessionRecord? {
        guard let (command, errors, directory) = running else { return nil }
        running = nil
        defer {
            close(errors)
            if let directory { try? FileManager.default.removeItem(atPath: directory) }
        }
        // A program that a script started in the background may ignore SIGINT, on which tools print their results.
        let status = command.end([SIGINT, SIGTERM], patience: Self.patience / 2)
        guard let directory else { return nil }
        guard status == 0, let bytes = FileManager.default.contents(atPath: directory + "/session.json") else {
            throw Failure("the session `\(name)` ended with status \(status). Run it alone to see why.")
        }
        return try JSONDecoder().decode(SessionRecord.self, from: bytes)
    }

    /// A path that nobody can foresee. The session creates the directory, so that it can remove it if kiln is killed.
    private static func freshDirectory() -> String {
        FileManager.default.temporaryDirectory.path + "/kiln-cost-" + String(UInt64.random(in: 0...UInt64.max), radix: 36)
    }

    /// Reads standard error until it contains `wanted`, or the end.
    private func words(until wanted: String) -> String {
        guard let errors = running?.errors else { return "" }
        var said: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while !String(decoding: said, as: UTF8.self).contains(wanted) {
            var waiting = pollfd(fd: errors, events: Int16(POLLIN), revents: 0)
            guard poll(&waiting, 1, Int32(Self.patience * 1000)) > 0 else { break }
            let count = read(errors, &buffer, buffer.count)
            guard count > 0 else { break }
            said += buffer[..<count]
        }
        return String(decoding: said, as: UTF8.self)
    }
}
