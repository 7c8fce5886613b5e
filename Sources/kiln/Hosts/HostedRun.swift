import ArgumentParser
import Glibc
import KilnHosts
import KilnKernel
import KilnModel
import PrintableText
import Synchronization

/// `kiln --host HOST SUBCOMMAND …`: the subcommand runs on other hosts, and everything it prints and writes comes here.
struct HostedRun {
    private static let subcommands: [any ParsableCommand.Type] = [
        RedisCommand.self, RecordCommand.self, SyscallsCommand.self, FunctionsCommand.self, TraceCommand.self, CostCommand.self, DoctorCommand.self,
    ]

    let options: HostOptions
    let words: [String]

    /// Throws the status that kiln is to end with.
    func run() throws {
        let hosts = options.host.map(\.name)
        guard Set(hosts.map(\.short)).count == hosts.count else {
            throw ValidationError(
                "two of the hosts have the same name without their users, so their sessions would have the same directory: run kiln once for each.")
        }
        let command = Self.subcommands.first { $0.configuration.commandName == words.first }
        // What is wrong with the arguments is said before anything is started. Without a subcommand, kiln tells what runs there.
        var parsed = try Kiln.parseAsRoot(FunctionsCommand.withCommandOption(words))
        if words.contains(where: { ["-h", "--help", "help"].contains($0) }), command == nil { return try parsed.run() }
        guard !words.contains(where: { $0.contains("\u{fffd}") }) else {
            throw ValidationError("what the other host is to run has to be UTF-8.")
        }
        guard command != nil || words.isEmpty else {
            let names = Self.subcommands.compactMap { $0.configuration.commandName }.joined(separator: ", ")
            throw ValidationError("`\(words[0])` does not run on another host: give one of \(names).")
        }
        let writesSession = try command.map { try OptionCatalog(of: $0)["output"] != nil } ?? false
        let given = GivenOutput(words)
        try Output.requireStandardOutput()

        let events = try SessionEvents(), started = WallTime()
        let json = words.prefix { $0 != "--" }.contains("--json")
        let table = hosts.count == 1 ? nil : CountingSubcommand(words).map { HostsTable($0, hosts, tableRows: Output.standardOutput.tableRows) }
        let order = HostOrder(
            arguments: table == nil ? given.others : given.others.inserting(["--json"]), writesSession: writesSession, keeps: options.keep,
            terminalRows: Output.standardOutput.isTerminal ? Output.standardOutput.tableRows : nil, hasBold: Output.standardOutput.isBold)
        let plan = HostConnection.Plan(
            order: order, options: options, asks: hosts.count == 1, shared: try SharedInput(binary: options.binary, hosts: hosts))
        let done = try ClosingPipe(), printer = HostPrinter(hosts, json: json, table: table)
        let isNew = given.output.map { access($0, F_OK) != 0 } ?? false
        var places: [HostDirectory?] = [], connections: [HostConnection] = []
        do {
            for host in hosts {
                places.append(
                    try writesSession ? HostDirectory(of: host, at: given.output, isOneOfSeveral: hosts.count > 1, started: started) : nil)
            }
            for (host, place) in zip(hosts, places) { connections.append(try HostConnection(host, plan, printer: printer, place: place)) }
        } catch {
            connections.forEach { $0.interrupt(SIGTERM) }
            places.forEach { $0?.finish() }
            throw error
        }
        let status = Self.wait(for: connections, events, signalledBy: done)
        // Of several hosts it has a directory each, which are gone if nothing has come.
        if isNew, let output = given.output { rmdir(output) }
        if status != 0 { throw ExitCode(status) }
    }

    /// Passes signals on, and returns the largest status.
    private static func wait(for connections: [HostConnection], _ events: SessionEvents, signalledBy done: ClosingPipe) -> Int32 {
        let statuses = Mutex<[Int32]>([])
        let threads = connections.map { connection in
            BackgroundThread {
                let status = connection.run()
                statuses.withLock { $0.append(status) }
                var byte: UInt8 = 0
                write(done.writeEnd.rawValue, &byte, 1)
            }
        }
        events.watch(attention: done.readEnd.rawValue)
        while statuses.withLock({ $0.count }) < connections.count {
            switch events.next(until: MonotonicClock.now() + .init(1_000_000_000)) {
            case .signal(let signal): for connection in connections { connection.interrupt(signal) }
            case .attention:
                var byte: UInt8 = 0
                read(done.readEnd.rawValue, &byte, 1)
            case .deadline, .ended: break
            }
        }
        threads.forEach { $0.join() }
        return statuses.withLock { $0.max() } ?? 0
    }
}

/// The arguments of a subcommand without its `--output`, which is a place here.
struct GivenOutput: Equatable {
    var output: String?
    var others: [String] = []

    init(_ words: [String]) {
        var rest = words[...]
        while let word = rest.popFirst() {
            if word == "--" {
                others += [word] + rest
                return
            }
            if word == "--output" || word == "-o" {
                output = rest.popFirst()
            } else if word.hasPrefix("--output=") {
                output = String(word.dropFirst("--output=".count))
            } else if word.hasPrefix("-o=") {
                output = String(word.dropFirst(3))
            } else {
                others.append(word)
            }
        }
    }
}

extension [String] {
    /// Options, behind the subcommand and before a command that is behind `--`.
    func inserting(_ options: [String]) -> [String] {
        let place = firstIndex(of: "--") ?? endIndex
        return self[..<place] + options + self[place...]
    }
}
