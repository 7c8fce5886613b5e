import FoundationEssentials
import Glibc
import KilnHosts
import KilnKernel
import KilnModel
import PrintableText
import Synchronization
import SystemPackage

/// A subcommand on one other host: finds or sends kiln, runs the subcommand there, passes on what it prints, and takes its files. All on a thread
/// of its own; `interrupt` may be called on any.
final class HostConnection: Sendable {
    /// What all connections of a run share.
    struct Plan: Sendable {
        var order: HostOrder
        var options: HostOptions
        /// Several hosts: ssh asks nothing.
        var asks: Bool
        var shared: SharedInput
    }

    /// Without a sign of life for so long, in milliseconds, the connection counts as lost. The other host is less patient.
    private static let patience: Int32 = 5000
    /// How long a step may take before the subcommand begins, in milliseconds.
    private static let slowness: Int32 = 35_000
    let host: HostName
    private let plan: Plan
    private let printer: HostPrinter
    private let place: HostDirectory?
    private let ssh: SSHProcess
    private let bootstrap: Bootstrap

    private struct State {
        /// The order was given: signals are for the subcommand.
        var isRunning = false
        var interruptions = 0
        /// The first one.
        var signal: Int32?
        var hasEnded = false
    }
    private let state = Mutex(State())

    /// Starts ssh.
    init(_ host: HostName, _ plan: Plan, printer: HostPrinter, place: HostDirectory?) throws {
        (self.host, self.plan, self.printer, self.place) = (host, plan, printer, place)
        let mark = (0..<3).map { _ in String(UInt64.random(in: 0...UInt64.max), radix: 36) }.joined()
        bootstrap = Bootstrap(mark: "kiln-\(mark)", version: "kiln \(kilnVersion)", usesSudo: plan.options.sudo)
        ssh = try SSHProcess(host, Bootstrap.command, configuration: plan.options.sshConfig, asks: plan.asks)
    }

    /// A signal for the subcommand. Before there is one, and at the third, ssh ends.
    func interrupt(_ signal: Int32) {
        let former = state.withLock { state in
            defer {
                state.interruptions += 1
                state.signal = state.signal ?? signal
            }
            return state
        }
        if former.hasEnded { return }
        if former.isRunning, former.interruptions < 2 {
            try? send(.signal(signal))
        } else {
            plan.shared.cancelQuestion()
            ssh.terminate()
        }
    }

    /// The exit status of the subcommand, or 1 and a line that says why there is none.
    func run() -> Int32 {
        let errors = BackgroundThread { [self] in passOnErrors() }
        var status: Int32 = 1, reason: (any Error)?
        do {
            let input = HostInput(ssh.output)
            do { try begin(input) } catch Errno.brokenPipe {
                // Why the script has ended is still to be read.
                _ = try said(input)
                throw unexpected
            }
            status = try exchange(input)
        } catch {
            reason = error
        }
        let signal = state.withLock { state in
            state.hasEnded = true
            return state.signal
        }
        ssh.closeInput()
        let ended = ssh.end(patience: reason == nil ? 5 : 0.5)
        errors.join()
        place?.finish()
        do { try printer.end(host, directory: place?.written) } catch { reason = reason ?? error }
        switch reason {
        case nil: return status
        case is OutputClosed: return 128 + SIGPIPE
        case let reason?:
            if let signal, !hasBegun {
                printer.say(host, "interrupted before the subcommand began; nothing of kiln is left there")
                return 128 + signal
            }
            printer.say(host, "\(reason)" + (ended == 255 && !hasBegun ? " (ssh ended with status 255)" : ""))
            return (reason as? Failure)?.status ?? 1
        }
    }

    private var hasBegun: Bool { state.withLock { $0.isRunning } }

    // MARK: Before the subcommand

    private func begin(_ input: HostInput) throws {
        try write(Array(bootstrap.script.utf8))
        guard case .found(let found) = try said(input, within: nil) else { throw unexpected }
        if plan.options.sudo {
            switch found.sudo {
            case .absent: throw Failure("there is no sudo. Leave --sudo out, or log in as root.")
            case .password, .none, .free: break
            }
        } else if found.sudo != .none {
            throw unexpected
        }
        try write(line: found.sudo == .password ? try plan.shared.password() : "")
        guard case .ready = try said(input) else { throw unexpected }
        if found.kiln == nil {
            try ProgressLine.during("sending kiln to \(host)") { try sendBinary(to: found, input) }
        } else {
            try write(line: "here")
        }
        guard case .started = try said(input) else { throw unexpected }
        guard state.withLock({ $0.signal == nil }) else { throw unexpected }
        try write(line: RemoteSession.beginning(bootstrap.mark))
        while let line = try input.line(within: Self.slowness) {
            if line == RemoteSession.beginning(bootstrap.mark) {
                var order = plan.order
                order.host = host.description
                try send(.order(Array(JSONEncoder().encode(order))))
                // From here on, signals are for the subcommand; one that came before has ended ssh.
                let isInterrupted = state.withLock { state in
                    state.isRunning = state.signal == nil
                    return !state.isRunning
                }
                if isInterrupted { throw unexpected }
                return
            }
        }
        guard let path = found.kiln else {
            throw Failure(
                "the program that was sent did not start as kiln \(kilnVersion). Give a static kiln of this version with --binary; `make static` builds one.")
        }
        throw Failure("\(path.printable) did not start there. Run `\(path.printable) doctor` on that host to see why.")
    }

    private var unexpected: Failure {
        Failure("the shell there didn't do what it was told to. Is `sh` a POSIX shell there, with mktemp, head, gzip and sha256sum?")
    }

    /// The next line of the script.
    ///
    /// - Parameter patience: Milliseconds; nil: ssh may ask, which takes as long as it takes.
    private func said(_ input: HostInput, within patience: Int32? = slowness) throws -> Bootstrap.Said {
        while let line = try input.line(within: patience) {
            guard let said = bootstrap.said(line) else { continue }
            if case .failed(let kind, let words) = said { throw failure(kind, words.printable) }
            return said
        }
        throw Failure("nothing was started there: the connection has ended.")
    }

    private func failure(_ kind: Bootstrap.Failure, _ words: String) -> Failure {
        switch kind {
        case .sudo: Failure("sudo refuses: \(words)")
        case .tool: Failure("there is no \(words), by which kiln is sent. Install it there.")
        case .directory: Failure("\(words). Set TMPDIR there.")
        case .write: Failure("kiln can't be sent: \(words). Is there room in TMPDIR?")
        case .hash: Failure("kiln can't be sent: \(words). Try again.")
        }
    }

    private func sendBinary(to found: Bootstrap.Found, _ input: HostInput) throws {
        guard found.system == "Linux" else { throw Failure("it runs \(found.system.printable), and kiln needs Linux.") }
        let program = try plan.shared.program()
        if let machine = program.machine, machine != found.machine {
            throw Failure("its processor is \(found.machine.printable), and the kiln to be sent is for \(machine). kiln runs on x86-64 only.")
        }
        try write(line: "sent")
        for number in 0... {
            // Compressed while the other host takes the one before.
            let piece = program.piece(number)
            guard case .more = try said(input) else { throw unexpected }
            if piece.isEmpty { break }
            try write(line: "\(piece.count)")
            try write(piece)
        }
        try write(line: "0 \(program.sum())")
    }

    // MARK: The subcommand

    /// The session's directory on the other host.
    private let there = Mutex("")

    private func exchange(_ input: HostInput) throws -> Int32 {
        let life = BackgroundThread { [self] in showLife() }
        defer {
            state.withLock { $0.hasEnded = true }
            life.join()
        }
        let began = MonotonicClock.now()
        while true {
            if let problem = problem.withLock({ $0 }), MonotonicClock.now() - problem.since > Self.longestEnd { throw problem.cause }
            let frame: Frame?
            do { frame = try input.frame(within: Self.patience) } catch {
                throw lost("kiln can't read what the other host sent", since: began)
            }
            switch frame {
            case .directory(let path):
                there.withLock { $0 = path }
                printer.rename(host, path, place?.path)
            case .output(let bytes): take { try printer.output(host, bytes) }
            case .errors(let bytes): printer.errors(host, bytes)
            case .append(let file, let bytes): take { try place?.append(bytes, to: file) }
            case .replace(let file, let bytes, let isLast): take { try place?.replace(file, bytes, isLast: isLast) }
            case .alive: break
            case .ended(let status):
                if plan.order.keeps, place?.written != nil { printer.say(host, "the files stay in \(there.withLock { $0 }); fetch them with scp -r") }
                if let problem = problem.withLock({ $0 }) { throw problem.cause }
                return status & 0xff
            case .failed(let reason): throw Failure(String(decoding: reason, as: UTF8.self).printable)
            case nil: throw lost("the connection was lost", since: began)
            case .order, .signal: throw lost("kiln can't read what the other host sent", since: began)
            }
        }
    }

    /// The first thing that kept output or files from being taken here.
    private let problem = Mutex<(cause: any Error, since: Nanoseconds)?>(nil)
    /// How long the session may take to end after that.
    private static let longestEnd = Nanoseconds(30_000_000_000)

    /// Takes what has arrived. If that is impossible here (whoever reads the output has gone, or the disk is full), the session ends in order; the
    /// rest still comes.
    private func take(_ body: () throws -> Void) {
        do { try body() } catch {
            let isFirst = problem.withLock { problem in
                defer { problem = problem ?? (error, MonotonicClock.now()) }
                return problem == nil
            }
            if isFirst { interrupt(SIGTERM) }
        }
    }

    private func lost(_ what: String, since began: Nanoseconds) -> Failure {
        let wasGivenUp = state.withLock { $0.interruptions > 2 }, what = wasGivenUp ? "was given up" : what
        let seconds = (MonotonicClock.now() - began).count / 1_000_000_000
        let kept = plan.order.keeps && place != nil ? " Its files stay in \(there.withLock { $0 })." : ""
        return Failure("\(what) after \(seconds) s; the session there ends by itself.\(kept)\(place?.whatArrived ?? "")", status: wasGivenUp ? 128 + SIGINT : 1)
    }

    /// Without it, the other host ends the session.
    private func showLife() {
        var pause = 0
        while !state.withLock({ $0.hasEnded }) {
            if pause % 10 == 0 { try? send(.alive) }
            pause += 1
            usleep(100_000)
        }
    }

    // MARK: The streams of ssh

    private let writing = Mutex(())

    private func send(_ frame: Frame) throws { try write(frame.bytes) }

    private func write(line: String) throws { try write(Array((line + "\n").utf8)) }

    private func write(_ bytes: [UInt8]) throws {
        try writing.withLock { _ in
            var rest = bytes[...]
            while !rest.isEmpty {
                var waiting = pollfd(fd: ssh.input.rawValue, events: Int16(POLLOUT), revents: 0)
                guard poll(&waiting, 1, Self.slowness) != 0 else { throw Failure("the connection was lost: nothing is taken there any more.") }
                do {
                    rest = rest.dropFirst(try rest.withUnsafeBytes { try ssh.input.write($0) })
                } catch Errno.resourceTemporarilyUnavailable {} catch Errno.interrupted {}
            }
        }
    }

    /// What ssh says, and what the other host's shell and sudo say, is for people.
    private func passOnErrors() {
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 16)
        defer { memory.deallocate() }
        while true {
            var waiting = pollfd(fd: ssh.errors.rawValue, events: Int16(POLLIN), revents: 0)
            // A connection that ssh shares with later ones may keep its standard error open for good.
            if poll(&waiting, 1, 100) <= 0 {
                if state.withLock({ $0.hasEnded }) { return }
                continue
            }
            guard let count = try? ssh.errors.read(into: memory), count > 0 else { return }
            // What the shell there says of its own end is of no interest.
            guard state.withLock({ $0.isRunning || $0.signal == nil }) else { continue }
            printer.sshErrors(host, Array(memory[..<count]))
        }
    }
}
