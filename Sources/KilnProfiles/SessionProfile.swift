import KilnModel
import KilnSessions
import PrintableText

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
        program = (record.target.exe ?? record.target.comm).printable
        start = WallClock.seconds(record.started).map(nanoseconds) ?? 0
        duration = nanoseconds(record.durationS)
        intervals = session.timeline.ticks.map { Interval(start: nanoseconds($0.start), end: nanoseconds($0.end)) }
        if history.haveTime, let first = intervals.first, let last = intervals.last {
            // A session begins before its probes are attached; its duration is that of the recording.
            start = min(first.start, max(start, last.end - min(duration, last.end)))
            duration = max(duration, last.end - start)
        }
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
        var placing = Placing(session.trie)
        for (place, group) in history.groups.enumerated() {
            let roots: Placing.Roots = group.thread == nil ? .process : .processAndThread
            series[group.kind].samples += history.entries[place].map { entry in
                Sample(
                    stack: placing.place(entry.stack, on: roots), labels: Int32(place), interval: history.haveTime ? entry.tick : nil, weight: entry.weight)
            }
        }
        (modules, frames, stacks) = (session.trie.modules.modules, placing.frames, placing.stacks)
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

/// Stacks without the names of processes and threads that they stand on: of the trie, those that samples have.
private struct Placing {
    enum Roots: Int32, CaseIterable {
        case process = 1
        case processAndThread
    }

    private(set) var frames: [Profile.Frame] = []
    private(set) var stacks: [Profile.Stack] = []
    private let trie: StackTrie
    /// By the number in the trie: how many frames a stack has.
    private var depths: [Int32]
    /// By the number in the trie; -1: none yet.
    private var frameNumbers: [Int32]
    private var places: [Roots: [Int32]] = [:]
    private var known: [Profile.Stack: Int32] = [:]

    init(_ trie: StackTrie) {
        self.trie = trie
        depths = []
        depths.reserveCapacity(trie.callers.count)
        for caller in trie.callers { depths.append(caller < 0 ? 1 : depths[Int(caller)] + 1) }
        frameNumbers = [Int32](repeating: -1, count: trie.frames.count)
        for roots in Roots.allCases { places[roots] = [Int32](repeating: -1, count: trie.callers.count) }
    }

    /// The number of a stack of the trie without its roots; -1 if nothing is left.
    mutating func place(_ stack: Int32, on roots: Roots) -> Int32 {
        var path: [Int32] = [], at = stack
        while depths[Int(at)] > roots.rawValue, place(known: at, roots) < 0 {
            path.append(at)
            at = trie.callers[Int(at)]
        }
        var place = place(known: at, roots)
        for stack in path.reversed() {
            place = number(.init(caller: place, frame: frame(trie.innermost[Int(stack)])))
            places[roots]?[Int(stack)] = place
        }
        return place
    }

    private func place(known stack: Int32, _ roots: Roots) -> Int32 { places[roots]?[Int(stack)] ?? -1 }

    private mutating func number(_ stack: Profile.Stack) -> Int32 {
        if let same = known[stack] { return same }
        let number = Int32(stacks.count)
        known[stack] = number
        stacks.append(stack)
        return number
    }

    private mutating func frame(_ number: Int32) -> Int32 {
        let place = Int(number)
        if frameNumbers[place] < 0 {
            frameNumbers[place] = Int32(frames.count)
            let module = trie.moduleOfFrame[place]
            frames.append(.init(function: FunctionName(folded: trie.frames[place].printable), module: module < 0 ? nil : module))
        }
        return frameNumbers[place]
    }
}

/// Of seconds; 0 for what is none.
private func nanoseconds(_ seconds: Double) -> UInt64 { UInt64(exactly: (seconds * 1e9).rounded()) ?? 0 }
