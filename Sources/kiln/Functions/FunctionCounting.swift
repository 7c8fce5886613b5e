import Glibc
import KilnKernel
import KilnModel

/// Counts and times calls of functions, and lets the dearest go where probes cost too much.
final class FunctionCounting: Probe {
    static let needs = [Capabilities.functions]

    private let functions: [SessionFunction]
    private let members: Members
    private let timing: FunctionTiming
    private let onlyProcess: Int32?
    private let descendants: (() -> [Int32])?
    private let refused: [SessionRecord.Functions.Refused]
    private let budget: FunctionBudget?
    /// What a call costs besides, because its stack is taken; and what stops that.
    private let stacks: (cost: Nanoseconds, stop: () -> Void)?
    private let targetCPU: () -> Nanoseconds
    /// Whose CPU time that is, for people.
    private let base: String
    private var probe: FunctionProbe?
    private var refusedByKernel: [Int: String] = [:]
    private var adopted = 0
    private var began = Nanoseconds.zero
    private var costs: FunctionProbe.CallCosts?
    private var last: (time: Nanoseconds, cpu: Nanoseconds, calls: [UInt64])?
    private var spent = 0.0
    private var firstCPU = Nanoseconds.zero
    private var share = 0.0
    private var letGo: [Int: Nanoseconds] = [:]
    private var takesStacks: Bool

    /// The least time between two looks at the cost.
    private static let span = Nanoseconds(90_000_000)

    /// - Parameters:
    ///   - refused: What was asked for and can't be probed.
    ///   - onlyProcess: The only member is this process, without what it starts.
    ///   - limit: The share of the target's CPU time that probes may take; nil: any.
    ///   - targetCPU: The CPU time so far of the processes that were named, or of the host. Their descendants' calls cost, too, but their time is not in it.
    ///   - base: Whose CPU time that is.
    init(
        _ functions: [SessionFunction], refused: [SessionRecord.Functions.Refused], of members: Members, timing: FunctionTiming, onlyProcess: Int32? = nil,
        descendants: (() -> [Int32])? = nil, limit: Double?, stacks: (cost: Nanoseconds, stop: () -> Void)? = nil, targetCPU: @escaping () -> Nanoseconds,
        base: String
    ) {
        self.stacks = stacks
        takesStacks = stacks != nil
        self.functions = functions
        self.refused = refused
        self.members = members
        self.timing = timing
        self.onlyProcess = onlyProcess
        self.descendants = descendants
        budget = limit.map { FunctionBudget(limit: $0) }
        self.targetCPU = targetCPU
        self.base = base
    }

    func load() throws(KernelError) {
        let probe = try FunctionProbe(functions.map(\.site), of: members, timing: timing, onlyProcess: onlyProcess)
        if budget != nil { costs = try probe.measureCost() }
        self.probe = consume probe
    }

    func attach() throws -> Nanoseconds {
        began = MonotonicClock.now()
        guard let (adopted, refused) = try probe?.attach(withDescendants: descendants) else { return began }
        self.adopted = adopted
        for refusal in refused { refusedByKernel[refusal.function] = "\(refusal.error.cause)" }
        guard refused.count < functions.count else {
            throw Failure(
                "cannot probe any of \(functions.count) functions: \(refused.first.map { "\(functions[$0.function].recorded.name): \($0.error)" } ?? "")")
        }
        return began
    }

    /// The places of functions that the kernel refused, by file; known when the rest is attached.
    var refusedPlaces: [String: Set<UInt64>] {
        var places: [String: Set<UInt64>] = [:]
        for function in refusedByKernel.keys {
            let site = functions[function].site
            places[site.file, default: []].formUnion(site.entries.map(\.offset))
        }
        return places
    }

    var details: [String] {
        let count = functions.count - refusedByKernel.count
        var details = [count == 1 ? "1 function" : "\(grouped(UInt64(count))) functions"]
        if descendants != nil { details.insert("with \(adopted) running descendants", at: 0) }
        switch timing {
        case .none: break
        case .returnInstructions: details.append("timed")
        case .returnProbes: details.append("timed by return probes")
        }
        return details
    }

    private func sayRefusals() {
        for (function, reason) in refusedByKernel.sorted(by: { $0.key < $1.key }).prefix(10) {
            say("kiln: \(functions[function].recorded.name) is not counted: \(reason)")
        }
        if refusedByKernel.count > 10 { say("kiln: \(refusedByKernel.count - 10) more functions are not counted: session.json has them.") }
    }

    func begin() throws {
        sayRefusals()
        began = MonotonicClock.now()
        firstCPU = targetCPU()
        last = (began, firstCPU, try probe?.callCounts() ?? [])
    }

    func drain() throws -> Bool {
        try keepBelowLimit()
        return false
    }

    /// Lets functions go if their probes took more than the limit since the last look.
    private func keepBelowLimit() throws {
        let now = MonotonicClock.now()
        guard let budget, let costs, let last, now >= last.time + Self.span, let calls = try probe?.callCounts() else { return }
        let cpu = targetCPU()
        self.last = (now, cpu, calls)
        let spentNow = calls.indices.map { index -> Nanoseconds in
            guard index < last.calls.count, probe?.isProbed[index] == true else { return .zero }
            return Nanoseconds((calls[index] &- last.calls[index]) &* cost(ofCall: index, costs).count)
        }
        spent += spentNow.reduce(0.0) { $0 + Double($1.count) }
        let decision = budget.decide(costs: spentNow, cpu: cpu - last.cpu, in: now - last.time)
        share = min(spent / max(budget.base(cpu: cpu - firstCPU, in: now - began), 1), 1)
        guard !decision.letGo.isEmpty else { return }
        if takesStacks, let stacks {
            takesStacks = false
            stacks.stop()
            say("kiln: no more stacks of callers are taken, because they cost too much (--max-cost)")
            return self.last = (MonotonicClock.now(), targetCPU(), try probe?.callCounts() ?? calls)
        }
        try probe?.letGo(decision.letGo)
        let end = MonotonicClock.now(), counted = try probe?.callCounts() ?? calls
        for function in decision.letGo { letGo[function] = end - began }
        say("\(letGoLine(decision, counted, at: end))")
        // The time of the change is no measure of what comes.
        self.last = (MonotonicClock.now(), targetCPU(), counted)
    }

    private func cost(ofCall function: Int, _ costs: FunctionProbe.CallCosts) -> Nanoseconds {
        if functions[function].site.isOfKernel { return costs.ofKernel ?? .zero }
        return (probe?.isEmulated[function] == true ? costs.emulated : costs.stepped) + (takesStacks ? stacks?.cost ?? .zero : .zero)
    }

    private func letGoLine(_ decision: FunctionBudget.Decision, _ counted: [UInt64], at now: Nanoseconds) -> String {
        let dearest = decision.letGo.sorted { (counted[$1], $0) < (counted[$0], $1) }, shown = 5
        let named = dearest.prefix(shown).map { "\(functions[$0].recorded.name) (\(grouped(counted[$0])) calls until then)" }.joined(separator: ", ")
        let more = dearest.count > shown ? " and \(dearest.count - shown) more" : ""
        return "kiln: probes took \(percentText(min(decision.share, 1))) of \(base), more than --max-cost: after \(now - began) "
            + "these functions are no longer counted: \(named)\(more)"
    }

    func read(into snapshot: inout Snapshot) throws {
        try probe?.read(into: &snapshot)
        let length = snapshot.time - began
        snapshot[FunctionCounts.self]?.length = length
        snapshot[FunctionCounts.self]?.letGo = letGo
    }

    func describe(_ record: inout SessionRecord, at moment: SessionMoment) {
        guard let counts = moment.snapshot[FunctionCounts.self] else { return }
        record.functions = SessionRecord.Functions(
            functions.map(\.recorded), counts, isTimed: timing != .none, refused: refusedByKernel, besides: refused,
            cost: budget.flatMap { budget in
                costs.map {
                    .init(
                        limitPercent: budget.limit * 100, percent: share * 100, emulatedCallNs: Double($0.emulated.count),
                        steppedCallNs: Double($0.stepped.count),
                        kernelCallNs: $0.ofKernel.map { Double($0.count) })
                }
            })
    }

    func detach() { probe = nil }

    func loadedPrograms() -> [LoadedProgram] { probe?.loadedPrograms() ?? [] }
}

extension RowFile {
    /// A line for each function that was called, returned or was left. `functions`: of the session.
    static func functions(_ functions: [RecordedFunction], areTimed: Bool) -> RowFile {
        RowFile(name: "functions.jsonl") { moment in
            try jsonLines(
                zip(functions, moment.counts[FunctionCounts.self]?.functions ?? []).filter(\.1.hasHappened)
                    .map { function, counts in
                        FunctionRow(
                            time: moment.time.rfc3339, interval: moment.counts.time, target: moment.target, function, counts, isTimed: areTimed)
                    })
        }
    }
}
