import ArgumentParser
import FoundationEssentials
import Glibc
import KilnHosts
import KilnKernel
import KilnModel
import SystemPackage

/// The other side of `--host`: runs a subcommand for kiln on another host, which is behind standard input and output. Not for people.
///
/// It ends the subcommand, and removes what that has written, when the input ends, and when no sign of life comes for some seconds: then the
/// connection is lost, whatever the network says.
struct RemoteSession: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "remote-session", abstract: "Runs a subcommand for kiln on another host.", shouldDisplay: false)

    /// The variable that tells the subcommand how many rows a table has on the terminal of the other host.
    static let terminalRows = "KILN_TERMINAL_ROWS"

    /// The variable that tells the subcommand how the other host calls this one.
    static let host = "KILN_HOST"

    /// The line after which there are frames.
    static func beginning(_ mark: String) -> String { "\(mark) frames" }

    @Argument var mark: String
    /// A directory of this user, with kiln if it was sent. Whoever starts this removes it afterwards.
    @Argument var sent: String

    func run() throws {
        // Without the other host nobody reads what went wrong.
        do { try serve() } catch let code as ExitCode { throw code } catch { throw ExitCode(1) }
    }

    private func serve() throws {
        // The running program stays; its file is not left behind, however this ends.
        unlink("\(sent)/kiln")
        let line = try HostLine(mark: mark)
        do {
            let order = try line.order(), directory = try order.writesSession ? WorkDirectory(in: sent, isKept: order.keeps) : nil
            defer { directory?.remove() }
            try run(order, in: directory, line)
        } catch {
            try line.send(.failed(Array("\(error)".utf8)))
            throw ExitCode(1)
        }
    }

    private func run(_ order: HostOrder, in directory: WorkDirectory?, _ line: HostLine) throws {
        if let rows = order.terminalRows { setenv(Self.terminalRows, "\(rows)", 1) }
        setenv(Self.host, order.host, 1)
        if !order.hasBold { setenv("NO_COLOR", "1", 1) }
        let session = directory.map { GrowingDirectory($0.session) }
        try line.send(.directory(directory?.session ?? ""))
        let output = try ClosingPipe(), errors = try ClosingPipe()
        let options = directory.map { ["--output", $0.session] } ?? []
        let words: [String] = ["/proc/self/exe"] + order.arguments.inserting(options)
        let child = try ChildCommand(words.map { Array($0.utf8CString) }, output: output.writeEnd.rawValue, errors: errors.writeEnd.rawValue)
        setpgid(child.pid, child.pid)
        try child.start()
        try output.writeEnd.close()
        try errors.writeEnd.close()
        line.follow(child.pid, patience: order.keeps ? 30 : 1)

        var streams = [(output.readEnd, { Frame.output($0) }), (errors.readEnd, { Frame.errors($0) })], reported = MonotonicClock.now()
        while true {
            let wasRunning = line.isRunning(child)
            var waiting = streams.map { pollfd(fd: $0.0.rawValue, events: Int16(POLLIN), revents: 0) }
            let ready = poll(&waiting, nfds_t(waiting.count), wasRunning ? 100 : 0)
            for index in streams.indices.reversed() where ready > 0 && waiting[index].revents != 0 {
                let bytes = try streams[index].0.readPiece()
                if bytes.isEmpty { streams.remove(at: index) } else { line.pass(streams[index].1(bytes)) }
            }
            // Without streams, its end is near; a program that it has started may keep a stream open.
            if !wasRunning, ready <= 0 || streams.isEmpty { break }
            if streams.isEmpty { usleep(1000) }
            let now = MonotonicClock.now()
            if now - reported >= .init(1_000_000_000) {
                reported = now
                line.pass(.alive)
                try session?.sendNews { line.pass($0) }
            }
        }
        try session?.sendNews { line.pass($0) }
        try line.send(.ended(status: child.end()))
    }
}

extension FileDescriptor {
    /// What is there, up to 64 KiB; empty at the end.
    fileprivate func readPiece() throws -> [UInt8] {
        try [UInt8](unsafeUninitializedCapacity: 1 << 16) { memory, count in count = try read(into: UnsafeMutableRawBufferPointer(memory)) }
    }
}

/// A directory for the files of a session, which only this user can enter.
private final class WorkDirectory {
    private let path: String
    private let isKept: Bool
    /// The session makes it, and it may be kept.
    var session: String { "\(path)/session" }

    /// - Parameters:
    ///   - parent: Where it lies if it is not kept.
    ///   - isKept: It is not removed. Then it lies where a restart of the host doesn't remove it.
    init(in parent: String, isKept: Bool) throws {
        let parent = isKept ? getenv("TMPDIR").map { String(cString: $0) } ?? "/var/tmp" : parent
        var template = Array("\(parent)/kiln-session-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw Failure("no directory can be made in \(parent) there: \(errorText(errno)). Set TMPDIR there.") }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        self.isKept = isKept
        // Under sudo, files belong to the user who called it.
        if let user = getenv("SUDO_UID").flatMap({ UInt32(String(cString: $0)) }) { chown(path, user, UInt32.max) }
    }

    func remove() {
        // Kept is what holds a session.
        if isKept { rmdir(path) } else { try? FileManager.default.removeItem(atPath: path) }
    }
}
