import Glibc
import KilnKernel
import KilnModel
import KilnTargets

/// Makes the session of `kiln functions`.
struct FunctionSession {
    let options: FunctionSessionOptions
    let observation: ObservationOptions

    func plan(on whom: Whom, _ chosen: SessionFunctions, started: WallTime) throws -> Session.Plan {
        let target = whom.target, functions = chosen.functions
        let recorded = functions.map(\.recorded), isWholeHost = target.pids.isEmpty, sampling = try SamplingOptions.withoutSamples(options.debugFiles)
        guard !options.callers || functions.contains(where: { !$0.site.isOfKernel }) else {
            throw Failure(
                "--callers records stacks at functions of files, not of the kernel: `kiln record -e` records stacks at the kernel's events.", status: 64)
        }
        let folding = options.callers ? StackFolding(targets: target.pids, sampling) : nil
        // The callers' links are made after those that count, and leave out what the kernel refused to these.
        var refusedPlaces: () -> [String: Set<UInt64>] = { [:] }
        let callers = folding.map { folding in
            StackSampling(
                of: whom.members, sampling, folding: folding,
                known: { whom.knownCode(folding) },
                events: callerEvents(of: functions), leavingOut: { refusedPlaces() }, descendants: whom.descendants, asOne: target.pids.count > 1)
        }
        let counting = FunctionCounting(
            functions, refused: chosen.refused, of: whom.members, timing: options.timing, onlyProcess: onlyProcess(whom), descendants: whom.descendants,
            limit: options.maxCost < 100 ? options.maxCost / 100 : nil, stacks: callers.map { callers in (Self.stackCost, { callers.detachEvents() }) },
            targetCPU: { isWholeHost ? hostCPU() : target.cpu }, base: isWholeHost ? "the host's CPU time" : "the target's CPU time")
        refusedPlaces = { [unowned counting] in counting.refusedPlaces }
        let directory = try DirectorySink(of: whom, at: options.output, started: started, rows: [.functions(recorded, areTimed: options.time)])
        let printing: any Sink =
            options.json
            ? JSONSink()
            : CallTableSink(top: options.top, histograms: options.histograms, directory: directory) {
                FunctionText(recorded, $0, isTimed: options.time, most: $1)
            }
        var plan = Session.Plan(
            targets: [target], probes: [counting] + (callers.map { [$0 as any Probe] } ?? []),
            sinks: [directory, printing], rows: directory.rows, folding: folding, interval: Nanoseconds(UInt64(options.interval * 1e9))
        )
        plan.drainEvery = Nanoseconds(100_000_000)
        plan.remarks = chosen.remarks
        return plan
    }

    /// Of a stack: an estimate, which holds for some twenty frames.
    private static let stackCost = Nanoseconds(5_000)

    /// An event for each file: all its functions, so that the innermost frame is the function.
    private func callerEvents(of functions: [SessionFunction]) -> [Event] {
        let files = Dictionary(grouping: functions.filter { !$0.site.isOfKernel }, by: \.site.file).sorted { $0.key < $1.key }
        return files.enumerated().map { index, file in
            let name = files.count == 1 ? "callers" : "callers-\(index + 1)"
            return Event(
                RecordedEvent(name: name, fileName: name, every: 1),
                at: .functions(file: file.key, places: file.value.flatMap(\.site.entries), atReturn: false))
        }
    }

    /// Where one process is the only member, nobody else needs to be trapped.
    private func onlyProcess(_ whom: Whom) -> Int32? {
        guard !whom.isCommand, !observation.children, whom.members.threads.isEmpty, whom.target.pids.count == 1 else { return nil }
        return whom.target.pids[0]
    }
}
