import KilnModel

/// The metrics of servers.
public enum RedisMetrics {
    /// Writes all servers' totals. The order of samples is fixed, so that two scrapes can be compared.
    public static func write(_ servers: [RedisTotals], _ bounds: BucketBounds, to text: inout Exposition) {
        let servers = servers.sorted { $0.instance < $1.instance }
        let commands = servers.map { server in (server, server.commands.sorted { $0.key < $1.key }) }

        func each(_ name: String, _ kind: Exposition.Kind, _ help: String, _ value: (RedisTotals) -> Double?) {
            text.metric(name, kind, help)
            for server in servers { if let value = value(server) { text.sample(Labels(["instance": server.instance]), value) } }
        }
        each("kiln_target_up", .gauge, "1 if the server runs and is watched.") { $0.isUp ? 1 : 0 }
        each("kiln_target_starts_total", .counter, "Processes that were this server since kiln began to watch it; a restart is one more.") { $0.starts }
        each(
            "kiln_watched_ratio", .gauge,
            "The watched part of the last interval, 0 to 1. At 1 all counts are exact, below it they are estimates."
        ) { $0.isUp ? $0.fraction : 0 }
        each("kiln_watched_seconds_total", .counter, "Time that was watched. An interval of 1 s of which a quarter was watched adds 0.25.") { $0.watched }
        text.metric(
            "kiln_unwatched_seconds_total", .counter,
            "Time that was not watched, by reason: between two sessions (restart, targets, profile, memory, configuration, failure), or left out by a budget or a share (share)."
        )
        for server in servers {
            for (reason, seconds) in server.unwatched.sorted(by: { $0.key < $1.key }) where seconds > 0 {
                text.sample(Labels(["reason": reason, "instance": server.instance]), seconds)
            }
        }
        text.metric("kiln_stack_samples_total", .counter, "Stacks that were recorded, by kind: on_cpu, at a timer, and off_cpu, at the end of a wait.")
        for server in servers {
            for (kind, count) in server.samples.sorted(by: { $0.key < $1.key }) {
                text.sample(Labels(["kind": kind, "instance": server.instance]), count)
            }
        }

        text.metric("kiln_redis_commands_total", .counter, "Requests that the server received, by command; other has those without a row of their own.")
        for (server, commands) in commands {
            for (name, command) in commands { text.sample(Labels(["command": name, "instance": server.instance]), command.calls) }
        }
        text.metric(
            "kiln_redis_commands_variance_total", .counter,
            "The variance of kiln_redis_commands_total, as far as the counts are estimates: 95 of 100 times the true increase is within 1.96 times the square root of this one's increase. It may be higher by the increase of kiln_redis_commands_held_total."
        )
        for (server, commands) in commands {
            for (name, command) in commands { text.sample(Labels(["command": name, "instance": server.instance]), command.variance) }
        }
        text.metric(
            "kiln_redis_commands_held_total", .counter,
            "Requests that a busy server may have received besides kiln_redis_commands_total while nothing was watched, because watching slows it.")
        for (server, commands) in commands {
            for (name, command) in commands { text.sample(Labels(["command": name, "instance": server.instance]), command.held) }
        }
        text.metric(
            "kiln_redis_errors_total", .counter, "Error replies by command and first word, as WRONGTYPE, with those inside of the reply of EXEC or a script.")
        for (server, commands) in commands {
            for (name, command) in commands {
                for (word, count) in command.errors.sorted(by: { $0.key < $1.key }) {
                    text.sample(Labels(["command": name, "error": word, "instance": server.instance]), count)
                }
            }
        }
        text.metric(
            "kiln_redis_command_duration_seconds", .histogram,
            "Time of commands by phase: queue, from the arrival of the request to its read; service, from the read to the send of the whole reply; total, both; exec and reply, the parts of service; send_blocked, from the first send of a reply to its last; wait, the service of blocking commands. A bucket's bound is right to within 1/32."
        )
        for (_, commands) in commands {
            for (_, command) in commands {
                for phase in Phase.allCases {
                    guard let totals = command.phases[phase], let labels = command.labels[phase], !totals.isEmpty else { continue }
                    text.histogram(labels, totals, bounds)
                }
            }
        }
        each("kiln_redis_received_bytes_total", .counter, "Bytes of requests that the server read from clients.") { $0.received }
        each("kiln_redis_sent_bytes_total", .counter, "Bytes of replies that the server sent to clients.") { $0.sent }
        syscalls(servers, &text)
        waits(servers, &text)
    }

    private static func syscalls(_ servers: [RedisTotals], _ text: inout Exposition) {
        text.metric(
            "kiln_redis_syscalls_counted_seconds_total", .counter,
            "Time in which system calls were counted. A budget may switch the counting off: the rate of calls is their increase divided by this one's."
        )
        for server in servers where server.syscallSeconds > 0 { text.sample(Labels(["instance": server.instance]), server.syscallSeconds) }
        text.metric("kiln_redis_syscalls_total", .counter, "Returns of system calls of the server's threads, by name.")
        for server in servers {
            for (name, counts) in server.syscalls.sorted(by: { $0.key < $1.key }) {
                text.sample(Labels(["syscall": name, "instance": server.instance]), counts.calls)
            }
        }
        text.metric("kiln_redis_syscall_errors_total", .counter, "Those of them that returned an errno.")
        for server in servers {
            for (name, counts) in server.syscalls.sorted(by: { $0.key < $1.key }) where counts.errors > 0 {
                text.sample(Labels(["syscall": name, "instance": server.instance]), counts.errors)
            }
        }
    }

    private static func waits(_ servers: [RedisTotals], _ text: inout Exposition) {
        let waits = servers.map { server in
            (server.instance, server.waits.sorted { ($0.key.blocker, $0.key.blocked) < ($1.key.blocker, $1.key.blocked) })
        }
        func write(_ name: String, _ help: String, _ value: (RedisTotals.Wait) -> Double) {
            text.metric(name, .counter, help)
            for (instance, pairs) in waits {
                for (pair, wait) in pairs {
                    text.sample(Labels(["blocker": pair.blocker, "blocked": pair.blocked, "instance": instance]), value(wait))
                }
            }
        }
        write("kiln_redis_blocked_waits_total", "Requests (blocked) that waited in their socket while another command (blocker) was executed.") { $0.times }
        write("kiln_redis_blocked_wait_seconds_total", "How long requests (blocked) waited in their socket while another command (blocker) was executed.") {
            $0.seconds
        }
    }
}

/// kiln's own process, by the names that every exporter has, and what it does.
public struct ProcessMetrics: Sendable {
    /// User and system.
    public var cpuSeconds = 0.0
    /// In seconds since 1970.
    public var startTime = 0.0
    public var residentBytes = 0.0, virtualBytes = 0.0
    /// Now, and the limit.
    public var openDescriptors = 0.0, mostDescriptors = 0.0

    public init() {}

    public func write(to text: inout Exposition) {
        text.single("process_cpu_seconds_total", .counter, "CPU time of kiln itself, user and system.", cpuSeconds)
        text.single("process_resident_memory_bytes", .gauge, "Resident memory of kiln itself.", residentBytes)
        text.single("process_virtual_memory_bytes", .gauge, "Address space of kiln itself.", virtualBytes)
        text.single("process_open_fds", .gauge, "Open file descriptors of kiln itself.", openDescriptors)
        text.single("process_max_fds", .gauge, "The limit of open file descriptors.", mostDescriptors)
        text.single("process_start_time_seconds", .gauge, "When kiln began, in seconds since 1970.", startTime)
    }
}
