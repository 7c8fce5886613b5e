import KilnModel
import KilnSessions

extension Profile {
    /// The stacks of a recorded session.
    ///
    /// - Parameter version: Of the kiln that writes.
    /// - Throws: `ReportError` where the session can't be read or has no stacks, and what `files` throws.
    public init(of files: some SessionFiles, version: String) throws {
        let session = try SessionSamples(files)
        guard let history = session.stacks else {
            throw ReportError("\(files.place) has no stacks to export: nothing was sampled in this session. Record with `kiln record` or `kiln redis`.")
        }
        let record = session.record
        self.version = version
        pid = record.target.pids == nil ? record.target.pid : 0
        program = record.target.exe ?? record.target.comm
        start = WallClock.seconds(record.started).map(nanoseconds) ?? 0
        duration = nanoseconds(record.durationS)
        intervals = session.timeline.ticks.map { Interval(start: nanoseconds($0.start), end: nanoseconds($0.end)) }
        let placing = Placing(session.trie, haveThreads: history.groups.contains { $0.thread != nil })
        (modules, frames, stacks) = (placing.modules, placing.frames, placing.stacks)
        labels = history.groups.map(Labels.init)
        series = history.kinds.map { kind in
            let unit: Unit =
                switch kind.unit {
                case "samples": .samples(period: nanoseconds(1 / max(kind.frequency ?? 99, 1e-3)))
                case "nanoseconds": .nanoseconds
                default: .events
                }
            return Series(name: kind.name, unit: unit, dropped: kind.dropped, samples: [])
        }
        for (place, group) in history.groups.enumerated() {
            series[group.kind].samples += history.entries[place].map { entry in
                Sample(
                    stack: placing.place[Int(entry.stack)], labels: Int32(place), interval: history.haveTime ? entry.tick : nil, weight: entry.weight)
            }
        }
        for place in series.indices where history.haveTime { series[place].samples.sort { ($0.interval ?? 0, $0.labels) < ($1.interval ?? 0, $1.labels) } }
        putMainBinaryFirst(record.target.comm)
    }

    /// The first module is the program itself: that of the target's name or executable, else that with the most samples of innermost frames.
    private mutating func putMainBinaryFirst(_ comm: String) {
        func name(_ path: String) -> Substring { path.split(separator: "/").last ?? path[...] }
        let wanted = [name(program), comm[...]]
        guard let main = modules.firstIndex(where: { wanted.contains(name($0.module)) }) else { return }
        program = modules[main].module
        if main == 0 { return }
        modules.swapAt(0, main)
        let first = Int32(main)
        for place in frames.indices {
            if frames[place].module == 0 { frames[place].module = first } else if frames[place].module == first { frames[place].module = 0 }
        }
    }
}

extension Profile.Labels {
    fileprivate init(_ group: StackGroup) {
        self.init(
            process: group.process, thread: group.thread, command: group.command, phase: group.phase, verdict: group.verdict, state: group.state,
            latency: group.band.flatMap(LatencyBand.init(number:)).map { .init(lower: $0.lower.count, upper: $0.upper?.count) })
    }
}

/// Stacks without the names of processes and threads that they stand on.
private struct Placing {
    private(set) var modules: [SampleModule]
    private(set) var frames: [Profile.Frame] = []
    private(set) var stacks: [Profile.Stack] = []
    /// By the number in the trie.
    private(set) var place: [Int32]

    init(_ trie: StackTrie, haveThreads: Bool) {
        modules = trie.modules.modules
        var numbers = [Int32](repeating: -1, count: trie.frames.count)
        place = [Int32](repeating: -1, count: trie.callers.count)
        var known: [Profile.Stack: Int32] = [:]
        for number in trie.callers.indices {
            let caller = trie.callers[number]
            let isRoot = caller < 0 || haveThreads && trie.callers[Int(caller)] < 0
            if isRoot { continue }
            let frame = Int(trie.innermost[number])
            if numbers[frame] < 0 {
                numbers[frame] = Int32(frames.count)
                let module = trie.moduleOfFrame[frame]
                frames.append(.init(function: FunctionName(folded: trie.frames[frame]), module: module < 0 ? nil : module))
            }
            let stack = Profile.Stack(caller: place[Int(caller)], frame: numbers[frame])
            if let same = known[stack] {
                place[number] = same
            } else {
                place[number] = Int32(stacks.count)
                known[stack] = place[number]
                stacks.append(stack)
            }
        }
    }
}

/// Of seconds; 0 for what is none.
private func nanoseconds(_ seconds: Double) -> UInt64 { UInt64(exactly: (seconds * 1e9).rounded()) ?? 0 }
