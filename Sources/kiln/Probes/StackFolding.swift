import Flamegraph
import Glibc
import KilnKernel
import KilnModel
import KilnSymbols
import PrintableText

/// Names the addresses of a session's stacks.
final class StackFolding {
    private let kernel = KernelSymbolizer()
    private let store: SymbolStore
    private let servers: DebugFileServers?
    /// By process; none for a process that could not be read.
    private var symbolizers: [Int: Symbolizer] = [:]
    /// By process: the one from which it was forked.
    private var origins: [Int: Int] = [:]
    /// Python's frames of processes that are not known yet.
    private var unread: [Int: Set<UInt64>] = [:]
    private let code = CodeMappings()
    private let demangling: Bool
    private let showsInlined: Bool
    private let showsLines: Bool
    /// Names of all stacks folded so far that can't change.
    private var lasting: [KnownFrames.Place: KnownFrames.Frame] = [:]
    /// The files of all frames folded so far; `NamedStack.modules` has their numbers.
    private(set) var modules = SessionModules()
    /// Processes whose stacks have generated code without names.
    private var withoutMap: Set<Int> = []
    /// Processes whose stacks have Python's interpreter without Python's frames.
    private var interpreted: Set<Int> = []

    /// Opens the targets' mapped files at once, so that names can be found after a process has ended.
    init(targets: [Int32], _ options: SamplingOptions) {
        let urls = options.debugFiles.servers
        servers = urls.isEmpty ? nil : DebugFileServers(urls: urls)
        store = SymbolStore(readsSource: options.inline || options.lines, lines: options.lines, servers: servers)
        showsInlined = options.inline
        showsLines = options.lines
        demangling = !options.noDemangle
        for (index, pid) in targets.enumerated() { symbolizers[index] = try? Symbolizer(pid: pid, sharing: store) }
    }

    /// Reads the mappings of a process again. Returns its code for the unwinder; empty for a process that has ended.
    func code(of process: SampledProcess) -> ProcessCode {
        origins[process.number] = process.origin
        if let known = symbolizers[process.number] {
            _ = try? known.refresh()
            return code.code(of: known)
        }
        // Kernel threads have no user stack.
        guard process.startStack != 0 else { return ProcessCode([]) }
        let opened = try? Symbolizer(pid: process.pid, startStack: process.startStack, sharing: store)
        symbolizers[process.number] = opened
        return opened.map { code.code(of: $0) } ?? ProcessCode([])
    }

    /// The code that these processes have mapped now; nothing for those that have ended.
    func code(ofProcesses pids: [Int32]) -> [CodeMapping] {
        pids.flatMap { pid in (try? Symbolizer(pid: pid, sharing: store)).map { code.mappings(of: $0) } ?? [] }
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

    /// Looks for functions of just-in-time compilers that others have replaced since the last comparison: which stacks go through one, by process
    /// and frames. Nil: none does.
    func replacedCode(in table: StackTable, comparison: UInt64) -> ((Int, StackFrames) -> Bool)? {
        let changed = symbolizers.filter(\.value.hasNewGeneratedCode)
        if changed.isEmpty { return nil }
        var replaced: [Int: Set<UInt64>] = [:]
        let frames = table.framesByProcess
        for (process, symbolizer) in changed {
            let addresses = Set((frames[process] ?? []).flatMap { located($0.user, interrupted: $0.interrupted).map(\.lookupAddress) })
            let here = symbolizer.replacedGeneratedCode(at: addresses, number: comparison)
            if !here.isEmpty { replaced[process] = here }
        }
        if replaced.isEmpty { return nil }
        return { process, frames in
            guard let addresses = replaced[process] else { return false }
            return self.located(frames.user, interrupted: frames.interrupted).contains { addresses.contains($0.lookupAddress) }
        }
    }

    /// The stacks of one kind with the names of their frames. `root` returns the name of a process (by its number), or nil to leave its stacks out.
    /// An incomplete stack begins with its unwind termination: `[no_row];...`.
    ///
    /// - Parameter withIdle: Off-CPU stacks include waits for new work.
    func named(_ table: StackTable, _ kind: StackKind, withIdle: Bool = false, root: (Int) -> String?) -> (stacks: [NamedStack], names: NamesRecord) {
        var known = KnownFrames(lasting)
        let found = table.foundCode.mapValues { code.mappings($0) }
        var named: [NamedStack] = []
        /// The frames, the outermost first. `uses`: the weight of the stack.
        func stack(_ process: Int, _ frames: StackFrames, _ uses: UInt64) -> [FoldedFrame] {
            let origin = table.processes[process]?.origin ?? process
            // Marks the missing part, so that the next frame doesn't look like the outermost function.
            var stack = frames.termination == .complete ? [] : [FoldedFrame("[\(frames.termination.name)]")]
            let symbolizer = symbolizers[process] ?? symbolizers[origin]
            var user = located(frames.user, interrupted: frames.interrupted).enumerated().map { index, frame in
                let isUnknown = frames.termination == .noMapping && index == frames.user.count - 1
                let moment = isUnknown ? CodeMoment.after(frames.reading) : .at(frames.reading)
                let place: KnownFrames.Code =
                    if let code = frames.found.last(where: { $0.contains(frame.lookupAddress) }) {
                        .found(code)
                    } else {
                        .layer(symbolizer?.layer(at: moment) ?? 0)
                    }
                let isGuessed = frames.guessed.contains(index)
                return known.folded(frame, in: process, place, before: frames.comparison, isGuessed: isGuessed, uses) {
                    self.named($0, process, origin, moment, place, frames.comparison, found[process], isGuessed: isGuessed)
                }
            }
            if frames.python.isEmpty {
                if user.contains(where: PythonFrames.isInterpreter) { interpreted.insert(process) }
            } else {
                let python = PythonFrames(frames.python) { known.text(ofPython: pythonName($0, process, origin), uses) }
                user = python.placed(in: user, isWhole: frames.termination == .complete)
            }
            stack += user.reversed()
            var kernel = located(frames.kernel).reversed().map { frame in
                SystemCall(standingFor: frame.address).map { FoldedFrame(foldedSafe("\($0)") + "_[k]") }
                    ?? known.folded(frame, in: nil, .layer(0), uses) { self.named([PlacedSymbol(symbol: self.kernel.symbolize($0))], in: .kernel) }
            }
            if kind != .onCPU {
                // The program that takes the stack at a tracepoint is on top of it.
                if let call = kernel.lastIndex(where: { $0.text.hasPrefix("bpf_trace_run") }) { kernel.removeSubrange(call...) }
                while let top = kernel.last, Self.tracepointFrames.contains(where: top.text.hasPrefix) { kernel.removeLast() }
                // The kernel doesn't show these of a thread that is asleep when its stack is taken.
                while let top = kernel.last, Self.switchFrames.contains(top.text) { kernel.removeLast() }
            }
            return stack + kernel
        }
        func add(
            _ key: StackTable.Key, _ frames: StackFrames, _ work: Work = Work(.unlabelled), above: [String] = [],
            _ weights: [(state: WaitState?, weight: UInt64)]
        ) {
            let process = key.process
            guard let root = root(process), let uses = weights.map(\.weight).max() else { return }
            let bottom = ([root] + (frames.thread.map { [$0] } ?? [])).map(foldedSafe).joined(separator: ";")
            let folded = stack(process, frames, uses)
            let text = (folded.map(\.text) + above).joined(separator: ";")
            let modules = above.isEmpty ? folded.flatMap { [Int32](repeating: $0.module, count: 1 + $0.text.utf8.count { $0 == UInt8(ascii: ";") }) } : []
            named += weights.map {
                NamedStack(process: process, root: bottom, work: work, state: $0.state, frames: text, modules: modules, weight: $0.weight, key: key)
            }
        }
        switch kind {
        case .onCPU, .event:
            for (key, frames, work, samples) in table.stacks(of: kind) { add(key, frames, work, [(nil, samples)]) }
        case .offCPU:
            for (key, frames, work, times) in table.waitingStacks {
                // What was woken from a multiplexer has work.
                let shown = times.times.filter { withIdle || !key.isIdle || $0.key != .sleeping }
                add(key, frames, work, shown.sorted { $0.key.rawValue < $1.key.rawValue }.map { ($0.key, $0.value.count) })
            }
        case .waker:
            for wake in table.wakes where withIdle || !wake.key.isIdle {
                let waker = stack(wake.waker, wake.wakerFrames, wake.time.count).map(\.text)
                let by = wakerName(wake.waker, waker, table, root)
                add(
                    wake.key, wake.frames,
                    above: ["(woken by)"] + waker.reversed() + (wake.wakerFrames.thread.map { [foldedSafe($0)] } ?? []) + [foldedSafe(by)],
                    [(nil, wake.time.count)]
                )
            }
        }
        lasting = known.lasting
        withoutMap.formUnion(known.withoutMap)
        return (named, NamesRecord(named: known.named, unnamed: known.unnamed))
    }

    /// Reads the names of Python's functions, by process, that are not known.
    func learnPython(_ met: [Int: Set<UInt64>]) {
        for (process, frames) in met.merging(unread, uniquingKeysWith: { $0.union($1) }) {
            // A process that was forked a moment before is not known yet, and may end before it is.
            let readers = [process, origins[process] ?? process].compactMap { symbolizers[$0] }
            unread[process] = readers.isEmpty ? frames : nil
            // One that has ended has had the code of its parent.
            var left = frames
            for reader in readers where !left.isEmpty {
                reader.learnPython(left)
                left = left.filter { reader.python?.name(of: $0) == nil }
            }
        }
    }

    private func pythonName(_ frame: UInt64, _ process: Int, _ origin: Int) -> String? {
        symbolizers[process]?.python?.name(of: frame) ?? symbolizers[origin]?.python?.name(of: frame)
    }

    /// What processes of the stacks named so far have to do for their generated code to have names, a line each.
    var requests: [String] {
        let generated: [String] = withoutMap.sorted().compactMap { process in
            guard let symbolizer = symbolizers[process], let generator = symbolizer.codeGenerator else { return nil }
            return "pid \(symbolizer.pid) (\(generator.rawValue)): its generated code has no names; \(generator.request(pid: symbolizer.pid))."
        }
        let unknown: [String] = interpreted.sorted().compactMap { process in
            guard let symbolizer = symbolizers[process], symbolizer.python == nil, let version = symbolizer.pythonVersion else { return nil }
            let help = version >= 12 ? "start it with -X perf" : "its functions have no names"
            let reason = (11...13).contains(version) ? "its interpreter could not be read" : "kiln reads the frames of CPython 3.11 to 3.13"
            return "pid \(symbolizer.pid) (Python 3.\(version)): \(reason); \(help)."
        }
        return generated + unknown
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
    /// executed no other program, or the code that the unwinder found in it, for this stack or another one (`found`).
    private func named(
        _ frame: FrameAddress, _ process: Int, _ origin: Int, _ moment: CodeMoment, _ place: KnownFrames.Code, _ comparison: UInt64?,
        _ found: FoundMappings?, isGuessed: Bool
    ) -> KnownFrames.Frame {
        let own = symbolizers[process]
        if case .found(let exactly) = place {
            let exact = code.mappings([exactly])
            if own?.hasSameCode(as: exact, frame, at: moment) != true {
                return named(own?.frames(frame, in: exact, before: comparison) ?? exact.frames(frame), in: .user, isGuessed: isGuessed)
            }
        } else if let found, found.covers(frame), own?.covers(frame, at: moment) != true {
            return named(found.frames(frame), in: .user, isGuessed: isGuessed)
        }
        guard let symbolizer = own ?? symbolizers[origin] else {
            return .init(
                text: isGuessed ? "[unknown] [guess]" : "[unknown]",
                unnamed: .init(module: nil, reason: "the process could not be read: it ended too early, or kiln lacks permission"))
        }
        return named(symbolizer.frames(frame, at: moment, before: comparison), in: .user, isGuessed: isGuessed)
    }

    private func named(_ frames: [PlacedSymbol], in space: FrameSpace, isGuessed: Bool = false) -> KnownFrames.Frame {
        let function = frames.first?.symbol
        return KnownFrames.Frame(
            text: frames.prefix(showsInlined ? frames.count : 1).map {
                $0.symbol.foldedFrame(in: space, demangling: demangling, at: showsLines ? $0.place : nil, isGuessed: isGuessed)
            }.joined(separator: ";"),
            module: frames.first?.file.map { modules.number(of: .init(path: $0.path.printable, buildID: $0.buildID)) } ?? NamedStack.noModule,
            unnamed: function?.unnamed.map { .init(module: $0.module, reason: $0.reason.description) },
            lasts: function.map { if case .function = $0 { true } else { false } } ?? false,
            needsMap: function.map { if case .unknown(_, .anonymousMemory) = $0 { true } else { false } } ?? false
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
    /// At most 10 s.
    private let every: Nanoseconds
    private var due: Nanoseconds

    /// - Parameter interval: A time of which each end is wanted, too.
    init(endsOf interval: Nanoseconds? = nil) {
        every = Self.every(interval ?? Self.longest)
        due = MonotonicClock.now() + every
    }

    private static let longest = Nanoseconds(10_000_000_000)

    /// The longest time that fits into `interval` without a rest.
    static func every(_ interval: Nanoseconds) -> Nanoseconds {
        Nanoseconds(interval.count / max(1, (interval.count + longest.count - 1) / longest.count))
    }

    var isDue: Bool { MonotonicClock.now() >= due }

    mutating func done(since began: Nanoseconds) {
        let now = MonotonicClock.now(), took = now - began
        due = now + max(every, Nanoseconds(took.count * 50))
    }
}

/// The frames of a session with their names, and the number of lookups by outcome.
private struct KnownFrames {
    struct Frame {
        /// The text in a folded stack; more than one frame if functions were inlined.
        let text: String
        /// `NamedStack.modules`
        var module = NamedStack.noModule
        /// Nil if the frame has a name.
        let unnamed: NamesRecord.Cause?
        /// The name can't change, because it comes from a file. Generated code may be replaced, and a missing name may be found later.
        var lasts = false
        /// Generated code of a process that has written no map of it.
        var needsMap = false
    }

    /// Which of the codes that a process has had at an address.
    enum Code: Hashable {
        /// By its number.
        case layer(UInt64)
        case found(FoundCode)
    }

    struct Place: Hashable {
        let address: FrameAddress
        /// The process that has the address space; nil: the kernel.
        let space: Int?
        let code: Code
        /// `StackFrames.comparison`
        let comparison: UInt64?
        let isGuessed: Bool
    }

    private var frames: [Place: Frame] = [:]
    private(set) var named: UInt64 = 0
    private(set) var unnamed: [NamesRecord.Cause: UInt64] = [:]
    /// Processes with generated code and without a map of it.
    private(set) var withoutMap: Set<Int> = []

    init(_ known: [Place: Frame]) { frames = known }

    var lasting: [Place: Frame] { frames.filter(\.value.lasts) }

    mutating func folded(
        _ address: FrameAddress, in space: Int?, _ code: Code, before comparison: UInt64? = nil, isGuessed: Bool = false, _ samples: UInt64,
        lookingUp look: (FrameAddress) -> Frame
    ) -> FoldedFrame {
        let place = Place(address: address, space: space, code: code, comparison: comparison, isGuessed: isGuessed)
        let frame = frames[place] ?? look(address)
        frames[place] = frame
        if frame.needsMap, let space { withoutMap.insert(space) }
        if let cause = frame.unnamed { unnamed[cause, default: 0] += samples } else { named += samples }
        return FoldedFrame(frame.text, module: frame.module)
    }

    /// `name`: nil if it is not known.
    mutating func text(ofPython name: String?, _ samples: UInt64) -> String {
        if name == nil { unnamed[Self.lostPython, default: 0] += samples } else { named += samples }
        return name.map { foldedSafe("py:\($0)") } ?? "py:[unknown]"
    }

    private static let lostPython = NamesRecord.Cause(
        module: "python", reason: "the function was freed, or the process ended, before its name was read"
    )
}
