import KilnModel
import KilnSessions

/// The numbers of a session's record as tables.
struct SessionTables {
    let record: SessionRecord
    /// What a loss means, by its name.
    let lossMeaning: (String) -> String?

    var all: [TableData] {
        [
            commands, errors, cpuByCommand, waitsByCommand, blocked, clients, servers, functions, syscallTimes, syscalls, events, processes, ends, unnamed,
            kept,
            lost, cost,
        ].compactMap { $0 }.filter { !$0.rows.isEmpty || !$0.notes.isEmpty }
    }

    private typealias Column = TableData.Column
    private typealias Value = TableData.Value

    private static func text(_ name: String, _ definition: String) -> Column { Column(name: name, definition: definition, kind: "text") }
    private static func count(_ name: String, _ definition: String) -> Column { Column(name: name, definition: definition, kind: "count") }
    private static func time(_ name: String, _ definition: String) -> Column { Column(name: name, definition: definition, kind: "ns") }
    private static func share(_ name: String, _ definition: String) -> Column { Column(name: name, definition: definition, kind: "share") }

    /// Columns that are empty in all rows say nothing.
    private static func table(_ title: String, _ about: String = "", _ columns: [Column], _ rows: [[Value]], notes: [String] = []) -> TableData {
        let kept = columns.indices.filter { column in
            column == 0 || rows.contains { if case .none = $0[column] { false } else { true } }
        }
        return TableData(title: title, about: about, columns: kept.map { columns[$0] }, rows: rows.map { row in kept.map { row[$0] } }, notes: notes.map(shown))
    }

    private var isClient: Bool { record.side == .client }

    private var commands: TableData? {
        guard !record.commands.isEmpty else { return nil }
        let main = record.commands.values.contains { $0.phases["service"] != nil } ? "service" : "total"
        let columns: [Column] =
            [
                Self.text("command", "The command's name as the client sent it, in capitals."),
                Self.count("calls", isClient ? "Requests that the target sent." : "Requests that the server read."),
                Self.count("calls from", "The lower end of the 95 % interval of an estimate."), Self.count("calls to", "Its upper end."),
                Column(name: "calls/s", definition: "Calls divided by the length of the session.", kind: "rate"),
                Self.count("errors", "Error replies."),
            ]
            + [("p50", "p50"), ("p90", "p90"), ("p99", "p99"), ("p99.9", "p99.9")].map { name, _ in
                Self.time(
                    "\(main) \(name)",
                    "The \(main) that \(name.dropFirst()) % of the calls do not exceed. \(Glossary.meaning(main)) \(Glossary.meaning("percentile"))")
            } + [
                Self.time("\(main) max", "The longest \(main), exact."), Self.time("\(main) sum", "The \(main) of all calls together."),
            ]
            + ["queue", "exec", "reply", "total", "wait"].filter { $0 != main }.flatMap { phase in
                [0.5, 0.99].map { share in
                    Self.time("\(phase) p\(Int(share * 100))", "The \(phase) that \(Int(share * 100)) % of the calls do not exceed. \(Glossary.meaning(phase))")
                }
            } + [
                Self.share("run queue", "The share of exec in which the thread was ready to run and had no CPU."),
                Column(name: "request max", definition: "The largest request.", kind: "bytes"),
                Column(name: "reply max", definition: "The largest reply.", kind: "bytes"),
            ]
        let rows = record.commands.map { name, command -> [Value] in
            let phases = command.phases, calls = command.estimate?.callsEstimate ?? command.count
            let service = phases[main]
            var row: [Value] = [
                .text(name), .count(calls), .count(command.estimate?.callsLow), .count(command.estimate?.callsHigh),
                .number(record.durationS > 0 ? Double(calls) / record.durationS : nil), .count(command.errors),
                .count(service?.p50Ns), .count(service?.p90Ns), .count(service?.p99Ns), .count(service?.p999Ns), .count(service?.maxNs), .count(service?.sumNs),
            ]
            for phase in ["queue", "exec", "reply", "total", "wait"] where phase != main {
                row += [.count(phases[phase]?.p50Ns), .count(phases[phase]?.p99Ns)]
            }
            let exec = phases["exec"]?.sumNs ?? 0
            row += [
                exec > 0 ? .number(Double(command.execRunQueueNs) / Double(exec)) : .none, .count(command.requestBytesMax), .count(command.replyBytesMax),
            ]
            return row
        }
        let sums = record.commands.mapValues { $0.phases[main]?.sumNs ?? 0 }
        let order = zip(rows, record.commands.map(\.key)).sorted { (sums[$1.1] ?? 0, $0.1) < (sums[$0.1] ?? 0, $1.1) }.map(\.0)
        let unknown = Dictionary(grouping: record.phasesUnknown.keys.sorted()) { record.phasesUnknown[$0] ?? "" }.sorted { $0.key < $1.key }
        return Self.table("Commands", "Of the whole session.", columns, order, notes: unknown.map { "\($1.joined(separator: ", ")): \($0)" } + auditNotes)
    }

    /// kiln's counts beside the server's, where that was asked for.
    private var auditNotes: [String] {
        guard let audit = record.audit else { return [] }
        return audit.differences.isEmpty ? ["kiln's counts equal the server's own (audit)."] : audit.differences.map { "Audit: \($0)" }
    }

    private var errors: TableData? {
        let rows = record.commands.flatMap { name, command in command.errorWords.map { (name, $0.key, $0.value) } }.sorted {
            ($1.2, $0.0, $0.1) < ($0.2, $1.0, $1.1)
        }
        return Self.table(
            "Errors", "By the first word of the error, including those inside the reply of EXEC or a script.",
            [
                Self.text("command", "The command that was answered with an error."), Self.text("error", "The first word of the error reply."),
                Self.count("replies", "Error replies with this first word."),
            ], rows.map { [.text($0), .text($1), .count($2)] })
    }

    private static func title(_ row: SessionRecord.WorkRow) -> String {
        row.name + (row.reason.map { ": \($0)" } ?? "") + (row.verdict.map { " (\($0))" } ?? "")
    }

    private var work: [SessionRecord.WorkRow] { (record.samples.byCommand?.commands ?? []) + (record.samples.byCommand?.rest ?? []) }

    private func reasons(_ rows: [SessionRecord.WorkRow]) -> [String] {
        Set(rows.compactMap(\.reason)).sorted().compactMap { reason in Work.meaning(ofReason: reason).map { "\(reason): \($0)" } }
    }

    private var cpuByCommand: TableData? {
        let rows = work.filter { $0.samples != 0 }
        return Self.table(
            "CPU by command", Glossary.meaning("work"),
            [
                Self.text("work", "The command for which a thread worked, or what else it did."),
                Self.share("of CPU", "The share of the target's samples. It is an estimate: its 95 % interval stands beside it."),
                Self.share("from", "The lower end of the 95 % interval of the share."), Self.share("to", "The upper end of the 95 % interval of the share."),
                Self.count("samples", "On-CPU samples while a thread worked for the command."), Self.count("calls", "Requests that the server read."),
                Self.time("CPU a call", "An estimate: samples divided by the sampling frequency and by the calls."),
                Self.count("exec", "Samples in which the thread executed the command."), Self.count("read", "Samples in which it received the request."),
                Self.count("reply", "Samples in which it sent the reply."),
                Self.text("self", "The functions that were sampled most as the innermost frame, with their share of the row's samples."),
            ],
            rows.map { row in
                let perCall = row.calls.flatMap { $0 > 0 ? row.cpuSEstimate * 1e9 / Double($0) : nil }
                return [
                    .text(Self.title(row)), .number(row.share), .number(row.shareLow), .number(row.shareHigh), .count(row.samples), .count(row.calls),
                    .number(perCall), .count(row.execSamples), .count(row.readSamples), .count(row.replySamples),
                    .text(row.functions.prefix(3).map { "\($0.function) \(Self.percent($0.share))" }.joined(separator: ", ")),
                ]
            }, notes: reasons(rows))
    }

    private var waitsByCommand: TableData? {
        let rows = work.filter { $0.offCPU?.ns ?? 0 != 0 }.sorted { $0.offCPU?.ns ?? 0 > $1.offCPU?.ns ?? 0 }
        return Self.table(
            "Off-CPU by command", Glossary.meaning("off-CPU"),
            [
                Self.text("work", "The command for which a thread worked when it left the CPU, or what else it did."),
                Self.time("time", "Time off the CPU, without idle time."),
                Self.count("waits", "How often a thread left the CPU and came back, idle waits included."),
            ]
                + WaitState.allCases.map { Self.time($0.name, Self.meaning($0)) } + [
                    Self.time("idle", Glossary.meaning("idle")),
                    Self.text("longest in", "The innermost functions in which threads waited longest, with their share of the row's time."),
                ],
            rows.map { row -> [Value] in
                guard let waits = row.offCPU else { return [] }
                return [.text(Self.title(row)), .count(waits.ns), .count(waits.waits)]
                    + WaitState.allCases.map { waits.ns($0) == 0 ? .none : .count(waits.ns($0)) }
                    + [
                        waits.idleNs == 0 ? .none : .count(waits.idleNs),
                        .text(waits.functions.prefix(3).map { "\($0.function) \(Self.percent($0.share))" }.joined(separator: ", ")),
                    ]
            }, notes: reasons(rows))
    }

    static func meaning(_ state: WaitState) -> String {
        switch state {
        case .sleeping: "Asleep until it is woken or gets a signal."
        case .uninterruptible: "Asleep until it is woken: disks, page faults, locks in the kernel."
        case .runnable: "Ready to run, without a CPU."
        case .stopped: "Stopped by a signal or a debugger."
        }
    }

    private static func percent(_ share: Double) -> String {
        let percent = share * 100
        guard percent.isFinite, abs(percent) < 1e6 else { return "" }
        return abs(percent) >= 9.95 ? "\(Int(percent.rounded())) %" : "\((percent * 10).rounded() / 10) %"
    }

    private var blocked: TableData? {
        let times = record.waits.map(\.waitNs).saturatingSum, queue = record.commands.values.compactMap { $0.phases["queue"]?.sumNs }.saturatingSum
        return Self.table(
            "Who blocked whom", Glossary.meaning("blocked"),
            [
                Self.text("blocked", Glossary.meaning("blocked")), Self.text("by", Glossary.meaning("blocker")),
                Self.count("times", "How often a command waited during an execution of the blocker."), Self.time("total", "The time of these waits together."),
                Self.time("mean", "The total divided by the times."),
            ],
            record.waits.map { wait in
                [
                    .text(wait.blocked), .text(wait.blocker), .count(wait.times), .count(wait.waitNs),
                    .number(wait.times > 0 ? Double(wait.waitNs) / Double(wait.times) : nil),
                ]
            },
            notes: record.waits.isEmpty || queue == 0
                ? [] : ["These waits are \(Self.percent(Double(times) / Double(queue))) of the time in queue, which is \(Nanoseconds(queue))."])
    }

    private static let trafficColumns = [
        Self.count("commands", "Requests on the connections of this address."),
        Column(name: "received", definition: "Bytes that the target received.", kind: "bytes"),
        Column(name: "sent", definition: "Bytes that the target sent.", kind: "bytes"),
    ]

    private var clients: TableData? {
        Self.table(
            "Clients", "By address.", [Self.text("client", "The address without its port.")] + Self.trafficColumns,
            record.clients.sorted { ($1.value.commands, $0.key) < ($0.value.commands, $1.key) }.map { address, client in
                [.text(address), .count(client.commands), .count(client.receivedBytes), .count(client.sentBytes)]
            })
    }

    private var servers: TableData? {
        Self.table(
            "Servers", "To which the target sends requests.", [Self.text("server", "Address and port.")] + Self.trafficColumns,
            (record.servers ?? [:]).sorted { ($1.value.commands, $0.key) < ($0.value.commands, $1.key) }.map { address, server in
                [.text(address), .count(server.commands), .count(server.receivedBytes), .count(server.sentBytes)]
            })
    }

    private var functions: TableData? {
        Self.table(
            "Functions", "Each call counted, as they were chosen.",
            [
                Self.text("function", "The function's name."), Self.text("file", "The file that has it."),
                Self.count("calls", "Calls in the session, or until its probe was let go."),
            ],
            (record.functions?.probed ?? []).map { [.text($0.function), .text($0.file), .count($0.calls)] })
    }

    private var syscallTimes: TableData? {
        Self.table(
            "System calls with times", "By caller and call.",
            [
                Self.text("call", "The system call."), Self.text("caller", "The process, thread or control group."),
                Self.count("calls", "Calls that returned."),
                Self.count("errors", "Calls that returned an errno, without EAGAIN."), Self.time("p50", Glossary.meaning("percentile")),
                Self.time("p99", Glossary.meaning("percentile")), Self.time("max", "The longest call."), Self.time("time", "All calls together."),
            ],
            (record.syscallTimes ?? []).map { record in
                let caller =
                    record.cgroup ?? ((record.comm ?? "") + ((record.tid ?? record.pid).map { " \($0)" } ?? "") + (record.others == true ? " (others)" : ""))
                return [
                    .text(record.syscall + (record.abi.map { " (\($0))" } ?? "")), .text(caller), .count(record.count), .count(record.errors),
                    .count(record.latency.p50Ns), .count(record.latency.p99Ns), .count(record.latency.maxNs), .count(record.latency.sumNs),
                ]
            })
    }

    private var syscalls: TableData? {
        guard record.syscallTimes == nil else { return nil }
        return Self.table(
            "System calls", "Of the target.",
            [
                Self.text("call", "The system call."), Self.count("calls", "Calls that returned."),
                Column(name: "calls/s", definition: "Calls divided by the length of the session.", kind: "rate"),
                Self.count("errors", "Calls that returned an errno."),
            ],
            (record.syscalls ?? [:]).sorted { ($1.value.count, $0.key) < ($0.value.count, $1.key) }.map { name, call in
                [.text(name), .count(call.count), .number(record.durationS > 0 ? Double(call.count) / record.durationS : nil), .count(call.errors)]
            })
    }

    private var events: TableData? {
        Self.table(
            "Events", Glossary.meaning("event"),
            [
                Self.text("event", "The event's name."), Self.count("count", "How often it happened."),
                Self.count("one stack of", "A stack was taken at each one of so many."),
                Self.count("stacks", "Stacks that were recorded."), Self.count("complete", "Of these, stacks that reach the outermost function."),
                Self.count("lost", "Stacks that were due, and were neither recorded nor left out."),
            ],
            (record.samples.events ?? []).map { event in
                [
                    .text(event.event), event.unit == "nanoseconds" ? .text("\(Nanoseconds(event.count))") : .count(event.count), .count(event.every),
                    .count(event.recorded),
                    .count(event.complete), .count(event.lost),
                ]
            })
    }

    private static let mostProcesses = 1_000

    private var processes: TableData? {
        let processes = record.samples.onCPU.processes ?? []
        return Self.table(
            "Processes", "A process from one exec to the next.",
            [Self.text("process", "The process's name."), Self.count("pid", "Its number."), Self.count("samples", "On-CPU samples of it.")],
            processes.prefix(Self.mostProcesses).map { [.text($0.comm), .measured(Double($0.pid), "\($0.pid)"), .count($0.samples)] },
            notes: processes.count > Self.mostProcesses ? ["\(processes.count - Self.mostProcesses) more processes are in session.json."] : [])
    }

    private var ends: TableData? {
        var counts = record.samples.onCPU.ends.map { ("on-CPU", $0.key, $0.value) }
        counts += (record.samples.offCPU?.ends ?? [:]).map { ("off-CPU", $0.key, $0.value) }
        for event in record.samples.events ?? [] { counts += event.ends.map { (event.event, $0.key, $0.value) } }
        guard counts.contains(where: { $0.1 != "complete" }) else { return nil }
        let meanings = Dictionary(UnwindTermination.all.map { ($0.name, $0.meaning) }, uniquingKeysWith: { first, _ in first })
        return Self.table(
            "Ends of stacks", Glossary.meaning("unwind termination"),
            [
                Self.text("kind", "What the stacks were taken of."), Self.text("end", Glossary.meaning("unwind termination")),
                Self.count("stacks", "Recorded stacks that end so."),
                Self.text("meaning", "Why unwinding ended there."),
            ],
            counts.sorted { ($0.0, $1.2, $0.1) < ($1.0, $0.2, $1.1) }.map { [.text($0), .text($1), .count($2), .text(meanings[$1] ?? "")] })
    }

    private var unnamed: TableData? {
        Self.table(
            "Frames without a name", "Frames of on-CPU samples.",
            [Self.text("file", "The file or kernel module."), Self.text("reason", "Why they have no name."), Self.count("frames", "Counted once a sample.")],
            (record.samples.onCPU.names?.unnamed ?? []).map { [.text($0.module ?? "no file"), .text($0.reason), .count($0.frames)] })
    }

    private var kept: TableData? {
        guard let kept = record.samples.keptCalls else { return nil }
        return Self.table(
            "Calls whose stacks were kept", Glossary.meaning("verdict"),
            [
                Self.text("command", "The command."), Self.text("verdict", Glossary.meaning("verdict")), Self.count("calls", "Calls that were judged so."),
                Self.time("service", "Their service together."),
            ],
            kept.judged.sorted { $0.key < $1.key }.flatMap { name, judged in
                [("slow", judged.slow), ("fast", judged.fast), ("-", judged.unjudged)].compactMap { verdict, calls in
                    calls.map { [.text(name), .text(verdict), .count($0.count), .count($0.serviceNs)] }
                }
            })
    }

    private var lost: TableData? {
        Self.table(
            "Lost", Glossary.meaning("lost"),
            [Self.text("what", "The loss's name in session.json."), Self.count("count", "How often."), Self.text("meaning", "What was lost.")],
            record.lost.sorted { ($1.value, $0.key) < ($0.value, $1.key) }.map { [.text($0), .count($1), .text(lossMeaning($0) ?? "")] },
            notes: record.lost.isEmpty ? ["Nothing was lost."] : [])
    }

    private var cost: TableData? {
        let cost = record.cost
        var rows: [[Value]] = [
            [
                .text("kiln's CPU time"), .text("\(Nanoseconds(UInt64(saturating: cost.ownCPUS * 1e9)))"),
                .text("Of the process that reads the totals and names the frames."),
            ],
            [.text("kiln's peak memory"), .text("\(UInt64(saturating: Double(cost.ownPeakRSSBytes) / 1_048_576)) MiB"), .text("Its resident set.")],
            [
                .text("the target's CPU time"), .text("\(Nanoseconds(UInt64(saturating: cost.targetCPUS * 1e9)))"),
                .text("In the session, with what watching adds to it."),
            ],
            [
                .text("time to attach"), .text("\(Nanoseconds(UInt64(saturating: cost.attachS * 1e9)))"),
                .text("From kiln's start until the last program was attached."),
            ],
        ]
        if let time = cost.symbolizeS {
            rows.append([.text("time to name frames"), .text("\(Nanoseconds(UInt64(saturating: time * 1e9)))"), .text("At the session's end.")])
        }
        if let perCommand = cost.bpfNsPerCommand {
            rows.append([
                .text("BPF time a command"), .text("\(Nanoseconds(UInt64(saturating: perCommand)))"),
                .text("Run time of the programs that observe requests, divided by the commands."),
            ])
        }
        let steps = (record.costLimit?.steps ?? []).map { "After \(($0.afterS * 10).rounded() / 10) s, for --max-cost: \($0.step)" }
        return Self.table(
            "What kiln cost", "",
            [Self.text("what", "The kind of cost."), Self.text("amount", "As session.json has it."), Self.text("meaning", "What is counted.")], rows,
            notes: steps)
    }
}
