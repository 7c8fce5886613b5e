import Flamegraph
import Glibc
import KilnKernel
import KilnModel
import KilnSymbols

/// Names the addresses of a session's stacks.
final class StackFolding {
    private let kernel = KernelSymbolizer()
    private let store: SymbolStore
    private let servers: DebugFileServers?
    /// By process; none for a process that could not be read.
    private var symbolizers: [Int: Symbolizer] = [:]
    private let code = CodeMappings()
    private let demangling: Bool
    /// Names of all stacks folded so far that can't change.
    private var lasting: [KnownFrames.Place: KnownFrames.Frame] = [:]

    /// Opens the targets' mapped files at once, so that names can be found after a process has ended.
    init(targets: [Int32], _ options: SamplingOptions) {
        let urls = options.debugFiles.servers
        servers = urls.isEmpty ? nil : DebugFileServers(urls: urls)
        store = SymbolStore(expandsInlined: options.inline, servers: servers)
        demangling = !options.noDemangle
        for (index, pid) in targets.enumerated() { symbolizers[index] = try? Symbolizer(pid: pid, sharing: store) }
    }

    /// Reads the mappings of a process again. Returns its code for the unwinder; empty for a process that has ended.
    func mappings(of process: SampledProcess) -> [CodeMapping] {
        if let known = symbolizers[process.number] {
            _ = try? known.refresh()
            return code.mappings(of: known)
        }
        // Kernel threads have no user stack.
        guard process.startStack != 0 else { return [] }
        let opened = try? Symbolizer(pid: process.pid, startStack: process.startStack, sharing: store)
        symbolizers[process.number] = opened
        return opened.map(code.mappings) ?? []
    }

    /// The code that these processes have mapped now; nothing for those that have ended.
    func code(ofProcesses pids: [Int32]) -> [CodeMapping] {
        pids.flatMap { pid in (try? Symbolizer(pid: pid, sharing: store)).map(code.mappings) ?? [] }
    }

    /// The addresses with which interrupts enter the kernel; empty if they are not known. `kernel` reads its symbols later, when the session's BPF
    /// programs are among them.
    var interruptEntries: Range<UInt64> { KernelSymbolizer().interruptEntries ?? 0..<0 }

    /// Whether names may be missing that servers can give.
    var hasServers: Bool { servers != nil }

    /// From here on, debug files that are missing are fetched. `isInterrupted`: no more are to be fetched.
    func askServers(until isInterrupted: @escaping () -> Bool) {
        let talk = DebugFileServers.Talk(progress: FetchProgress().show, isInterrupted: isInterrupted)
        servers?.ask(talk)
        if store.forgetIncomplete() { lasting = [:] }
    }

    /// What servers did not have, and why they were not asked for more.
    var serverRemarks: [String] {
        guard let servers else { return [] }
        var remarks: [String] = []
        if !servers.missing.isEmpty { remarks.append("debuginfod has no debug files of \(servers.missing.joined(separator: ", "))") }
        if let problem = servers.problem { remarks.append("debug files are missing: \(problem)") }
        return remarks
    }

    /// The stacks of one kind with the names of their frames. `root` returns the name of a process (by its number), or nil to leave its stacks out.
    /// An incomplete stack begins with its unwind termination: `[no_row];...`.
    ///
    /// - Parameter withIdle: Off-CPU stacks include waits for new work.
    func named(_ table: StackTable, _ kind: StackKind, withIdle: Bool = false, root: (Int) -> String?) -> (stacks: [NamedStack], names: NamesRecord) {
        var known = KnownFrames(lasting)
        let found = table.foundCode.mapValues(code.mappings)
        var named: [NamedStack] = []
        /// The frames, the outermost first. `uses`: the weight of the stack.
        func stack(_ process: Int, _ frames: StackFrames, _ uses: UInt64) -> [String] {
            let origin = table.processes[process]?.origin ?? process
            // Marks the missing part, so that the next frame doesn't look like the outermost function.
            var stack = frames.termination == .complete ? [] : ["[\(frames.termination.name)]"]
            for frame in located(frames.user, interrupted: frames.interrupted).reversed() {
                stack.append(known.text(of: frame, in: process, uses) { self.named($0, process, origin, found[process]) })
            }
            var kernel = located(frames.kernel).reversed().map { frame in
                SystemCall(standingFor: frame.address).map { foldedSafe("\($0)") + "_[k]" }
                    ?? known.text(of: frame, in: nil, uses) { self.named([self.kernel.symbolize($0)], in: .kernel) }
            }
            if kind != .onCPU {
                // The program that takes the stack at a tracepoint is on top of it.
                if let call = kernel.lastIndex(where: { $0.hasPrefix("bpf_trace_run") }) { kernel.removeSubrange(call...) }
                while let top = kernel.last, Self.tracepointFrames.contains(where: top.hasPrefix) { kernel.removeLast() }
                // The kernel doesn't show these of a thread that is asleep when its stack is taken.
                while let top = kernel.last, Self.switchFrames.contains(top) { kernel.removeLast() }
            }
            return stack + kernel
        }
        func add(
            _ process: Int, _ frames: StackFrames, _ work: Work = Work(.unlabelled), above: [String] = [], _ weights: [(state: WaitState?, weight: UInt64)]
        ) {
            guard let root = root(process), let uses = weights.map(\.weight).max() else { return }
            let bottom = ([root] + (frames.thread.map { [$0] } ?? [])).map(foldedSafe).joined(separator: ";")
            let text = (stack(process, frames, uses) + above).joined(separator: ";")
            named += weights.map { NamedStack(process: process, root: bottom, work: work, state: $0.state, frames: text, weight: $0.weight) }
        }
        switch kind {
        case .onCPU, .event:
            for (process, frames, work, samples) in table.stacks(of: kind) { add(process, frames, work, [(nil, samples)]) }
        case .offCPU:
            for (process, frames, isIdle, work, times) in table.waitingStacks {
                // What was woken from a multiplexer has work.
                let shown = times.times.filter { withIdle || !isIdle || $0.key != .sleeping }
                add(process, frames, work, shown.sorted { $0.key.rawValue < $1.key.rawValue }.map { ($0.key, $0.value.count) })
            }
        case .waker:
            for wake in table.wakes where withIdle || !wake.isIdle {
                let waker = stack(wake.waker, wake.wakerFrames, wake.time.count)
                let by = wakerName(wake.waker, waker, table, root)
                add(
                    wake.process, wake.frames,
                    above: ["(woken by)"] + waker.reversed() + (wake.wakerFrames.thread.map { [foldedSafe($0)] } ?? []) + [foldedSafe(by)],
                    [(nil, wake.time.count)]
                )
            }
        }
        lasting = known.lasting
        return (named, NamesRecord(named: known.named, unnamed: known.unnamed))
    }

    /// The process of a waker, or the kind of interrupt.
    private func wakerName(_ process: Int, _ stack: [String], _ table: StackTable, _ root: (Int) -> String?) -> String {
        if process != StackTable.noProcess { return root(process) ?? table.processes[process]?.comm ?? "[unknown]" }
        return stack.contains { $0.hasPrefix("hrtimer_") || $0.hasPrefix("run_timer") } ? "(timer)" : "(interrupt)"
    }

    /// Kernel functions in which every thread leaves the CPU.
    private static let switchFrames: Set = ["__schedule_[k]", "schedule_[k]", "schedule_hrtimeout_range_clock_[k]", "schedule_hrtimeout_range_[k]"]

    /// Kernel functions between a tracepoint and `bpf_trace_run`, which calls the program.
    private static let tracepointFrames = ["__bpf_trace_", "__traceiter_"]

    /// The innermost address is an instruction, as is one that a signal interrupted; the others are return addresses.
    private func located(_ addresses: [UInt64], interrupted: [Int] = []) -> [FrameAddress] {
        addresses.enumerated().map { $0 == 0 || interrupted.contains($0) ? .instructionPointer($1) : .returnAddress($1) }
    }

    /// A name for the frame. A process that ended before it could be read has the code of the process that forked it (`origin`), if it
    /// executed no other program, or the code that the unwinder found in it.
    private func named(_ frame: FrameAddress, _ process: Int, _ origin: Int, _ found: FoundMappings?) -> KnownFrames.Frame {
        let own = symbolizers[process]
        if let found, found.covers(frame), own?.covers(frame) != true { return named(found.frames(frame), in: .user) }
        guard let symbolizer = own ?? symbolizers[origin] else {
            return .init(text: "[unknown]", unnamed: .init(module: nil, reason: "the process could not be read: it ended too early, or kiln lacks permission"))
        }
        return named(symbolizer.frames(frame), in: .user)
    }

    private func named(_ symbols: [Symbol], in space: FrameSpace) -> KnownFrames.Frame {
        KnownFrames.Frame(
            text: symbols.map { $0.foldedFrame(in: space, demangling: demangling) }.joined(separator: ";"),
            unnamed: symbols.first?.unnamed.map { .init(module: $0.module, reason: $0.reason.description) },
            lasts: symbols.first.map { if case .function = $0 { true } else { false } } ?? false
        )
    }
}

/// Shows on a terminal what is being fetched.
private final class FetchProgress {
    private var length = 0

    func show(_ progress: DebugFileServers.Progress?) {
        guard Output.standardError.isTerminal || getenv("DEBUGINFOD_PROGRESS") != nil else { return }
        let text =
            progress.map { "kiln: fetching the debug file of \($0.file): \(mebibytes($0.bytes))\($0.total.map { " of " + mebibytes($0) } ?? "") MiB" } ?? ""
        // Blanks over what a longer line left.
        let line = Line(text + String(repeating: " ", count: max(0, length - text.count)))
        _ = try? Output.standardError.write(progress: line)
        if progress == nil, length > 0 { _ = try? Output.standardError.write(progress: "") }
        length = text.count
    }

    private func mebibytes(_ bytes: UInt64) -> String { String(Double(bytes / 104_858) / 10) }
}

/// When stacks are folded during a session, so that a session that is killed leaves a profile: every 10 s, or less often if folding would
/// take more than a fiftieth of a core.
struct FoldingTimes {
    private static let every = Nanoseconds(10_000_000_000)
    private var due = MonotonicClock.now() + every

    var isDue: Bool { MonotonicClock.now() >= due }

    mutating func done(since began: Nanoseconds) {
        let now = MonotonicClock.now(), took = now - began
        due = now + max(Self.every, Nanoseconds(took.count * 50))
    }
}

/// The frames of a session with their names, and the number of lookups by outcome.
private struct KnownFrames {
    struct Frame {
        /// The text in a folded stack; more than one frame if functions were inlined.
        let text: String
        /// Nil if the frame has a name.
        let unnamed: NamesRecord.Cause?
        /// The name can't change, because it comes from a file. Generated code may be replaced, and a missing name may be found later.
        var lasts = false
    }

    struct Place: Hashable {
        let address: FrameAddress
        /// The process that has the address space; nil: the kernel.
        let space: Int?
    }

    private var frames: [Place: Frame] = [:]
    private(set) var named: UInt64 = 0
    private(set) var unnamed: [NamesRecord.Cause: UInt64] = [:]

    init(_ known: [Place: Frame]) { frames = known }

    var lasting: [Place: Frame] { frames.filter(\.value.lasts) }

    mutating func text(
        of address: FrameAddress, in space: Int?, _ samples: UInt64, lookingUp look: (FrameAddress) -> Frame
    ) -> String {
        let place = Place(address: address, space: space)
        let frame = frames[place] ?? look(address)
        frames[place] = frame
        if let cause = frame.unnamed { unnamed[cause, default: 0] += samples } else { named += samples }
        return frame.text
    }
}
