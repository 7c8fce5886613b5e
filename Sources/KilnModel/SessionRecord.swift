/// The fields of session.json. Names carry their unit. Fields are added, never renamed.

/// session.json.
public struct SessionRecord: Codable, Sendable {
    public struct Kiln: Codable, Sendable {
        public var version: String
    }

    public struct Target: Codable, Sendable {
        /// 0 means every process of the host.
        public var pid: Int32
        /// The executable and the process name at the end of the session.
        public var exe: String?
        public var comm: String
        /// All processes, if they are several; `pid` is the first, and `comm` has all their names.
        public var pids: [Int32]?
        /// The name at the beginning; absent if it is `comm`.
        public var commAtStart: String?
        /// The first port on which it listens; `ports` has all.
        public var port: UInt16?
        public var ports: [UInt16]
        public var container: String?

        public init(pid: Int32, exe: String?, comm: String, ports: [UInt16], container: String?) {
            self.pid = pid
            self.exe = exe
            self.comm = comm
            port = ports.first
            self.ports = ports
            self.container = container
        }

        enum CodingKeys: String, CodingKey { case pid, pids, exe, comm, port, ports, container, commAtStart = "comm_at_start" }
    }

    public struct Command: Codable, Sendable {
        /// Requests that the server read, or of them those that were watched.
        public var count: UInt64
        /// Absent: everything was watched.
        public var estimate: CallsEstimateRecord?
        /// Error replies.
        public var errors: UInt64
        /// Errors by their first word, including those inside the reply of EXEC or a script.
        public var errorWords: [String: UInt64]
        /// Part of `exec`: the thread was ready to run and had no CPU.
        public var execRunQueueNs: UInt64
        /// The largest request, and the largest reply. Of a send with replies to several commands, only the largest command counts.
        public var requestBytesMax: UInt64
        public var replyBytesMax: UInt64
        /// By phase; a phase that can't be known is absent.
        public var phases: [String: LatencyRecord]

        enum CodingKeys: String, CodingKey {
            case count, estimate, errors, phases
            case errorWords = "error_words", execRunQueueNs = "exec_run_queue_ns"
            case requestBytesMax = "request_bytes_max", replyBytesMax = "reply_bytes_max"
        }
    }

    /// The time that commands waited in their sockets while another one was executed: head-of-line blocking.
    public struct Wait: Codable, Sendable {
        /// The command that was executed.
        public var blocker: String
        /// The command that waited.
        public var blocked: String
        /// The number of times that a command waited during an execution of the blocker.
        public var times: UInt64
        public var waitNs: UInt64

        enum CodingKeys: String, CodingKey { case blocker = "culprit", blocked = "victim", times, waitNs = "wait_ns" }
    }

    /// The clients of one address.
    public struct Client: Codable, Sendable {
        public var commands: UInt64
        public var receivedBytes: UInt64
        public var sentBytes: UInt64

        enum CodingKeys: String, CodingKey {
            case commands, receivedBytes = "received_bytes", sentBytes = "sent_bytes"
        }
    }

    /// A server to which the process sends requests.
    public struct Server: Codable, Sendable {
        public var commands: UInt64
        public var receivedBytes: UInt64
        public var sentBytes: UInt64
        /// By command, from the send of the request to the read of the reply; absent without a reply.
        public var latency: [String: LatencyRecord]

        enum CodingKeys: String, CodingKey {
            case commands, latency, receivedBytes = "received_bytes", sentBytes = "sent_bytes"
        }
    }

    public struct Syscall: Codable, Sendable {
        public var count: UInt64
        public var errors: UInt64
    }

    public struct OnCPU: Codable, Sendable {
        public var frequencyHz: Int
        /// The unit of a count in stacks.folded.
        public var unit = "samples"
        /// The target's CPU time in the session times the frequency; absent if every process was sampled.
        public var expected: UInt64?
        public var recorded: UInt64
        /// Where only some calls' stacks are kept: of the recorded ones those in stacks.folded, and besides them the samples of other work, of which
        /// no stack was taken. Absent where all are kept.
        public var kept: UInt64?
        public var leftOut: LeftOutCounts?
        /// The recorded stacks that reach the outermost function.
        public var complete: UInt64
        /// Recorded stacks by unwind termination of the user side (`UnwindTermination.name`), only those that occurred.
        public var ends: [String: UInt64]
        /// The recorded stacks whose kernel side was truncated at the depth limit.
        public var kernelTruncated: UInt64
        /// The recorded stacks with callers that are guesses, marked `[guess]`. Absent if there are none.
        public var guessed: UInt64?
        /// Absent until the session has ended.
        public var names: NamesRecord?
        /// Descendants that the target started during the session, or with --children before it; not included in the numbers above. Absent
        /// if they were not sampled.
        public var descendants: Descendants?
        /// The sampled processes, the most sampled first. Only from `kiln record`, at the session's end.
        public var processes: [Process]?

        enum CodingKeys: String, CodingKey {
            case unit, expected, recorded, kept, complete, ends, guessed, names, descendants, processes
            case leftOut = "left_out", frequencyHz = "frequency_hz", kernelTruncated = "kernel_truncated"
        }
    }

    public struct Descendants: Codable, Sendable {
        public var recorded: UInt64
        public var complete: UInt64
        public var ends: [String: UInt64]
        public var guessed: UInt64?

        /// Nil if nothing was sampled.
        init?(_ counts: SampleCounts?) {
            guard let counts, counts.recorded != 0 else { return nil }
            recorded = counts.recorded
            complete = counts.complete
            ends = counts.terminationsByName
            guessed = counts.guessedIfAny
        }
    }

    /// A process from one exec to the next.
    public struct Process: Codable, Sendable {
        public var pid: Int32
        public var comm: String
        public var samples: UInt64

        public init(pid: Int32, comm: String, samples: UInt64) {
            self.pid = pid
            self.comm = comm
            self.samples = samples
        }
    }

    public struct Samples: Codable, Sendable {
        public var onCPU: OnCPU
        /// Absent unless --off-cpu was given.
        public var offCPU: OffCPU?
        /// Absent unless --event was given.
        public var events: [Event]?
        /// Both by command. Absent until the session has ended, and where stacks don't tell what their threads worked on.
        public var byCommand: ByCommand?
        /// Absent if the stacks of all calls were kept.
        public var keptCalls: KeptCalls?

        enum CodingKeys: String, CodingKey { case onCPU = "on_cpu", offCPU = "off_cpu", events, byCommand = "by_command", keptCalls = "kept_calls" }
    }

    /// BPF run-time statistics of a program.
    public struct Program: Codable, Sendable {
        public var runs: UInt64
        /// Without the dispatch to the program.
        public var runTimeNs: UInt64

        enum CodingKeys: String, CodingKey { case runs, runTimeNs = "run_time_ns" }
    }

    public struct Cost: Codable, Sendable {
        /// BPF run-time statistics of the programs that observe requests, per command; absent unless requested. It includes the time in
        /// which the programs ignore calls of other processes.
        public var bpfNsPerCommand: Double?
        /// By name; absent unless requested.
        public var programs: [String: Program]?
        public var ownCPUS: Double
        public var ownPeakRSSBytes: UInt64
        /// CPU time of the target during the session.
        public var targetCPUS: Double
        /// From kiln's start until the last program was attached.
        public var attachS: Double
        /// The time for naming all frames at the session's end; absent before.
        public var symbolizeS: Double?

        enum CodingKeys: String, CodingKey {
            case programs, bpfNsPerCommand = "bpf_ns_per_command", ownCPUS = "own_cpu_s", ownPeakRSSBytes = "own_peak_rss_bytes"
            case targetCPUS = "target_cpu_s", attachS = "attach_s", symbolizeS = "symbolize_s"
        }

        /// `programs`: BPF run-time statistics; nil if they are off.
        public init(programs: [String: ProgramCounts]?, ownCPU: Nanoseconds, ownPeakRSS: UInt64, targetCPU: Nanoseconds, attach: Nanoseconds) {
            self.programs = programs?.mapValues { Program(runs: $0.runs, runTimeNs: $0.runTime.count) }
            ownCPUS = ownCPU.seconds
            ownPeakRSSBytes = ownPeakRSS
            targetCPUS = targetCPU.seconds
            attachS = attach.seconds
        }
    }

    public var kiln: Kiln
    public var kernel: String
    /// The hook that observed requests; `none` if no requests were observed.
    public var hook: String
    /// `client`: the commands are those that the target sends. Absent in records of older versions, which means `server`.
    public var side: Side?
    /// The TLS library that was followed; absent if there was none.
    public var tlsLibrary: String?
    /// RFC 3339.
    public var started: String
    public var durationS: Double
    public var intervalS: Double
    /// The reason why the session ended; `running` before its end.
    public var ended: String
    public var target: Target
    public var commands: [String: Command]
    /// Why a phase has fewer samples than the service, by phase; only for such phases.
    public var phasesUnknown: [String: String]
    /// Head-of-line blocking: which command waited behind which other one, the longest wait first.
    public var waits: [Wait]
    /// By address without port.
    public var clients: [String: Client]
    /// By address and port; only on the client's side, which has no clients.
    public var servers: [String: Server]?
    /// kiln's counts beside the server's; absent unless requested.
    public var audit: Audit.Record?
    /// Absent if system calls were not counted.
    public var syscalls: [String: Syscall]?
    /// How long they were counted, if a budget switched the counting off for a part of the session.
    public var syscallsCountedS: Double?
    /// System calls with their times, by caller and call, the longest time first. Absent if they were not timed.
    public var syscallTimes: [SyscallTimesRecord]?
    public var samples: Samples
    /// All losses by name, for all targets of the session together.
    public var lost: [String: UInt64]
    public var cost: Cost
    /// Absent: everything was watched.
    public var watched: WatchedRecord?
    /// Absent unless --max-cost or --share was given.
    public var costLimit: CostLimitRecord?
    /// Only from `kiln functions`.
    public var functions: Functions?

    enum CodingKeys: String, CodingKey {
        case costLimit = "cost_limit", syscallsCountedS = "syscalls_counted_s", syscallTimes = "syscall_times"
        case watched, kiln, kernel, hook, side, servers, started, ended, target, commands, waits, clients, audit, syscalls, functions, samples, lost, cost
        case phasesUnknown = "phases_unknown"
        case durationS = "duration_s", intervalS = "interval_s", tlsLibrary = "tls_library"
    }

    /// Samples per second of CPU time; the mean where `--max-cost` has lowered it.
    public var meanFrequency: Double {
        guard costLimit?.steps.isEmpty == false, let expected = samples.onCPU.expected, cost.targetCPUS > 0 else { return Double(samples.onCPU.frequencyHz) }
        return Double(expected) / cost.targetCPUS
    }

    /// The fields of every session. Probes add their own.
    ///
    /// - Parameter snapshot: The growth of everything since the session began.
    public init(
        version: String, kernel: String, started: String, interval: Double, ended: String, target: Target, snapshot: Snapshot, cost: Cost
    ) {
        kiln = Kiln(version: version)
        self.kernel = kernel
        hook = "none"
        side = .server
        self.started = started
        durationS = snapshot.time.seconds
        intervalS = interval
        self.ended = ended
        self.target = target
        commands = [:]
        phasesUnknown = [:]
        waits = []
        clients = [:]
        samples = Samples(onCPU: OnCPU(frequencyHz: 0, expected: 0, recorded: 0, complete: 0, ends: [:], kernelTruncated: 0))
        lost = snapshot.losses
        if snapshot.undecidedBytes != 0 { lost["unsynchronised_bytes", default: 0] += snapshot.undecidedBytes }
        self.cost = cost
    }

    /// Adds commands, waits and clients.
    ///
    /// - Parameters:
    ///   - process: The index of the target in `snapshot`.
    ///   - programs: The names of the BPF programs that observe requests.
    public mutating func addRequests(
        of snapshot: Snapshot, process: Int, hook: String, side: Side, tlsLibrary: String?, programs: [String]
    ) {
        self.hook = hook
        self.side = side
        self.tlsLibrary = tlsLibrary
        let estimates = snapshot[Estimates.self]
        watched = estimates.flatMap { WatchedRecord($0) }
        for (key, counts) in snapshot.commands where key.process == process {
            commands[key.name.description] = Command(
                count: counts.calls, estimate: CallsEstimateRecord(estimates, key, counted: counts.calls), errors: counts.errors, errorWords: counts.errorWords,
                execRunQueueNs: counts.runQueue.count, requestBytesMax: counts.largestRequest,
                replyBytesMax: counts.largestReply,
                phases: Dictionary(
                    uniqueKeysWithValues: counts.phases.filter { $0.value.count != 0 }.map {
                        ($0.rawValue, LatencyRecord($1, estimates?.commands[key]?.phases[$0], of: estimates))
                    })
            )
        }
        if side == .server { phasesUnknown = snapshot.unknownPhases(process: process, hook: hook) }
        waits = snapshot.waits.filter { $0.key.process == process }
            .sorted { ($1.value.wait, $0.key.blocker, $0.key.blocked) < ($0.value.wait, $1.key.blocker, $1.key.blocked) }
            .map { key, counts in
                Wait(blocker: "\(key.blocker)", blocked: "\(key.blocked)", times: counts.times, waitNs: counts.wait.count)
            }
        if side == .client { servers = Self.servers(of: snapshot, process) }
        for (key, counts) in snapshot.clients where key.process == process && side == .server {
            clients[key.address] = Client(
                commands: counts.commands, receivedBytes: counts.receivedBytes, sentBytes: counts.sentBytes
            )
        }
        let calls = snapshot.commands.reduce(0.0) { $0 + (estimates?.calls($1.key, counted: $1.value.calls).value ?? Double($1.value.calls)) }
        if let counted = cost.programs, calls != 0 {
            cost.bpfNsPerCommand = Double(programs.reduce(UInt64(0)) { $0 + (counted[$1]?.runTimeNs ?? 0) }) / calls
        }
    }

    /// Adds system calls of the target. `name` returns the name of a number.
    public mutating func addSyscalls(of snapshot: Snapshot, process: Int, name: (Int) -> String) {
        var counted: [String: Syscall] = [:]
        for (key, counts) in snapshot.syscalls where key.process == process {
            counted[name(key.number)] = Syscall(count: counts.count, errors: counts.errors)
        }
        syscalls = counted
    }

    /// Adds on-CPU samples. `expected`: nil if every process was sampled.
    public mutating func addSamples(of snapshot: Snapshot, process: Int, frequency: Int, expected: UInt64?) {
        let counted = process < snapshot.samples.count ? snapshot.samples[process] : SampleCounts()
        samples.onCPU = OnCPU(
            frequencyHz: frequency, expected: expected, recorded: counted.recorded, kept: counted.kept, leftOut: counted.leftOutOfKept,
            complete: counted.complete, ends: counted.terminationsByName,
            kernelTruncated: counted.kernelTruncated, guessed: counted.guessedIfAny,
            descendants: Descendants(process < snapshot.otherSamples.count ? snapshot.otherSamples[process] : nil)
        )
    }

    private static func servers(of snapshot: Snapshot, _ process: Int) -> [String: Server] {
        var servers: [String: Server] = [:]
        for (key, counts) in snapshot.clients where key.process == process {
            servers[key.address] = Server(
                commands: counts.commands, receivedBytes: counts.receivedBytes, sentBytes: counts.sentBytes, latency: [:]
            )
        }
        for (key, counts) in snapshot.served where key.process == process && counts.latency.count != 0 {
            servers[key.server]?.latency["\(key.name)"] = LatencyRecord(counts.latency)
        }
        return servers
    }
}
