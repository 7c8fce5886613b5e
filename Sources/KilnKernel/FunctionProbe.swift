import CLibbpf
import Glibc
import KilnBPF
import KilnModel

/// A function of a file or of the kernel, or a static probe, as probes need it. Everywhere else, it is its index in the session's list.
public struct FunctionSite: Sendable {
    /// For messages.
    public let name: String
    /// A path by which the kernel can open the file; of the kernel's functions any name that is no path.
    public let file: String
    /// In the file, of the kernel's functions in memory. Of a function its first instruction, or, where that runs twice for one call, a later one that runs once. A static probe may have several.
    public let entries: [FunctionPlace]
    /// The file offsets of its return instructions.
    public let returns: [UInt64]
    /// It may end by a jump to another function.
    public let mayJump: Bool
    /// It runs on stacks of goroutines.
    public let isGo: Bool
    /// Not of static probes, which are instructions, and not of the kernel's functions.
    public let hasTimes: Bool
    public let isOfKernel: Bool

    public init(name: String, file: String, entry: FunctionPlace, returns: [UInt64] = [], mayJump: Bool = true, isGo: Bool = false) {
        self.name = name
        self.file = file
        entries = [entry]
        self.returns = returns
        self.mayJump = mayJump
        self.isGo = isGo
        hasTimes = true
        isOfKernel = false
    }

    /// A static probe (USDT).
    public init(staticProbe name: String, file: String, places: [FunctionPlace]) {
        self.init(countedOnly: name, file, places, isOfKernel: false)
    }

    /// A function of the kernel. Several may have one name.
    public init(kernelFunction name: String, addresses: [UInt64]) {
        self.init(countedOnly: name, "[kernel]", addresses.map { FunctionPlace(offset: $0) }, isOfKernel: true)
    }

    private init(countedOnly name: String, _ file: String, _ places: [FunctionPlace], isOfKernel: Bool) {
        self.name = name
        self.file = file
        self.isOfKernel = isOfKernel
        entries = places
        returns = []
        mayJump = false
        isGo = false
        hasTimes = false
    }
}

extension FunctionSite {
    /// A function of this program that does nothing.
    static func ofKiln() -> FunctionSite {
        let function = kiln_trial_function(false)
        return FunctionSite(
            name: "kiln_pushing_function", file: "/proc/self/exe", entry: FunctionPlace(offset: function.entry), returns: [function.at_return], mayJump: false)
    }
}

/// How a session times functions.
public enum FunctionTiming: Sendable {
    /// Calls are counted only.
    case none
    /// Returns are seen at return instructions: at any depth, and nothing in the program changes.
    case returnInstructions
    /// Returns are seen by return probes, which replace return addresses on the stack. Cheaper, but a program ends when it throws an exception through a
    /// probed call, or is written in Go; and the kernel follows 64 calls of a thread at a time.
    case returnProbes
}

/// Counts and times calls of functions. The programs are in functions.bpf.c.
public struct FunctionProbe: ~Copyable {
    /// A function that the kernel can't probe.
    public struct Refusal: Sendable {
        public let function: Int
        public let error: KernelError
    }

    public let sites: [FunctionSite]
    /// Whether a function is probed at present.
    public private(set) var isProbed: [Bool]
    /// Whether the kernel emulates a function's first instruction; otherwise it runs in single step, which takes longer. Known after `attach`.
    public private(set) var isEmulated: [Bool]
    private let members: Members
    private let timing: FunctionTiming
    private let onlyProcess: Int32?
    private let atOnce: Bool
    private var object: BPFObject
    let calls: BPFMap
    private let times: BPFMap
    let timesOfRows: BPFMap
    private let losses: BPFMap
    private let variables: UnsafeMutablePointer<kiln_function_variables>
    /// Returns before entries.
    private var links: [FunctionLink] = []
    /// The set of probes that counts now.
    private var set = 0
    /// While a function is probed, its calls are `base` plus the present set's count; afterwards `base` is its total.
    private var base: [Int64]

    /// Loads the programs. Counting doesn't begin yet. `onlyProcess`: the only member is this process, without what it starts; others are not trapped.
    public init(_ sites: [FunctionSite], of members: Members, timing: FunctionTiming, onlyProcess: Int32? = nil) throws(KernelError) {
        var object = try BPFObject(kiln_functions_object(), name: "functions")
        try members.configure(object)
        // One more, for kiln's own functions that measure the cost: they share a row.
        let timed = timing == .none ? 0 : min(sites.count, Int(KILN_FUNCTION_TIMES_MOST)) + 1
        try object.setConstant(
            section: ".rodata.options",
            kiln_function_options(
                return_probes: timing == .returnProbes ? 1 : 0, one_process: onlyProcess == nil ? 0 : 1, own_tgid: UInt32(bitPattern: getpid())))
        for map in ["function_calls", "times_of_rows"] { try object.setCapacity(ofMap: map, to: UInt32(sites.count + 1)) }
        try object.setCapacity(ofMap: "function_times", to: UInt32(max(timed, 1)))
        if timing == .none { for map in ["open_calls", "chunks", "free_chunks", "other_stacks"] { try object.setCapacity(ofMap: map, to: 1) } }
        let programs = Self.probing(timing, sites) + ["function_trapped"]
        object.loadOnly((onlyProcess == nil ? Members.programs : []) + programs + (timing == .none ? [] : Self.ending))
        let canAttachAtOnce = kiln_probe_uprobe_multi() == 0
        if canAttachAtOnce { object.attachToManyAtOnce(programs.filter { $0 != Self.ofKernel }) }
        try object.load()
        if let refused = object.refusedProbes { throw refused }
        let variables = try object.mapVariables(as: kiln_function_variables.self)
        let calls = try object.map("function_calls"), times = try object.map("function_times")
        let timesOfRows = try object.map("times_of_rows"), losses = try object.map("losses")
        self.sites = sites
        self.members = members
        self.timing = timing
        self.onlyProcess = onlyProcess
        self.variables = variables
        atOnce = canAttachAtOnce
        self.object = object
        self.calls = calls
        self.times = times
        self.timesOfRows = timesOfRows
        self.losses = losses
        isProbed = [Bool](repeating: false, count: sites.count)
        isEmulated = isProbed
        base = [Int64](repeating: 0, count: sites.count)
    }

    /// The programs that are called at functions: those for returns before those for entries.
    private static func probing(_ timing: FunctionTiming, _ sites: [FunctionSite]) -> [String] {
        let isCountedOnly = timing != .none && sites.contains { !$0.hasTimes && !$0.isOfKernel }
        return programs(timing) + (isCountedOnly ? programs(.none) : []) + (sites.contains(where: \.isOfKernel) ? [ofKernel] : [])
    }

    private static let ofKernel = "kernel_function_counted"
    /// Where a thread's open calls are over.
    private static let ending = ["thread_ended", "program_replaced"]

    private static func programs(_ timing: FunctionTiming) -> [String] {
        switch timing {
        case .none: ["function_counted"]
        case .returnInstructions: ["function_left", "function_entered"]
        case .returnProbes: ["function_returned", "function_entered"]
        }
    }

    // MARK: - What it costs

    /// The time that probes add to a call, by this machine: where the kernel emulates the first instruction, and where it doesn't.
    public struct CallCosts: Sendable {
        public let emulated: Nanoseconds
        public let stepped: Nanoseconds
        /// To a call of a function of the kernel; nil: none is probed.
        public let ofKernel: Nanoseconds?
    }

    /// Measures it at functions of kiln itself, with the same programs. `empty`: with one that does nothing, for comparison.
    public func measureCost(calls batch: UInt32 = 100, empty: Bool = false) throws(KernelError) -> CallCosts {
        let functions = [kiln_trial_function(false), kiln_trial_function(true)], isOfKernel = sites.contains(where: \.isOfKernel)
        func times() -> [UInt64] {
            (functions + (isOfKernel ? [kiln_trial_function_of_kernel()] : [])).map { function in
                let times = (0..<3).map { _ in kiln_time_calls(function, batch) / UInt64(batch) }.sorted()
                return times[1]
            }
        }
        let before = times()
        let cookie = UInt64(sites.count) | variables.pointee.timing_set | KILN_PROBE_OF_TRIAL
        var links: [FunctionLink] = []
        for program in Self.programs(timing) {
            let offsets = functions.map { program == "function_left" ? $0.at_return : $0.entry }
            links.append(
                try FunctionLink(
                    of: try object.find(program: empty ? "function_trapped" : program),
                    at: offsets.map { ProbedInstruction(place: FunctionPlace(offset: $0), cookie: cookie) },
                    file: "/proc/self/exe",
                    pid: getpid(), asReturnProbes: program == "function_returned", atOnce: atOnce))
        }
        if isOfKernel { links.append(try FunctionLink(ofTrialInKernel: try object.find(program: Self.ofKernel), cookie: cookie)) }
        let after = times()
        withExtendedLifetime(links) {}
        let added = zip(after, before).map { Nanoseconds($0 > $1 ? $0 - $1 : 0) }
        return CallCosts(emulated: added[0], stepped: added[1], ofKernel: isOfKernel ? added[2] : nil)
    }

    // MARK: - Attaching

    /// Attaches to all functions that the kernel can probe. Returns how many running descendants were adopted, and what the kernel refused.
    public mutating func attach(withDescendants descendants: (() -> [Int32])? = nil) throws(KernelError) -> (adopted: Int, refused: [Refusal]) {
        var adopted = 0
        if onlyProcess == nil { adopted = try members.attach(to: &object, withDescendants: descendants) }
        if timing != .none { for program in Self.ending { try object.attach(program) } }
        var refused: [Refusal] = []
        for (file, functions) in functionsByFile {
            let code = sites[functions[0]].isOfKernel ? nil : try MappedCode(file)
            do throws(KernelError) {
                try attach(functions, of: file)
            } catch {
                // Which ones? Tried in this process alone.
                let found = try refusals(among: functions, of: file)
                guard !found.isEmpty else { throw error }
                refused += found
                let culprits = Set(found.map(\.function))
                try attach(functions.filter { !culprits.contains($0) }, of: file)
            }
            for function in functions { isEmulated[function] = sites[function].entries.allSatisfy { code?.isEmulated(at: $0.offset) ?? true } }
        }
        return (adopted, refused)
    }

    private var functionsByFile: [(key: String, value: [Int])] {
        Dictionary(grouping: sites.indices, by: { sites[$0].file }).sorted { $0.key < $1.key }
    }

    private mutating func attach(_ functions: [Int], of file: String) throws(KernelError) {
        links += try links(of: functions, in: file, set: set)
        for function in functions { isProbed[function] = true }
    }

    /// New links for functions of one file. Returns are attached before entries, so that the return of each seen call is seen.
    private func links(of functions: [Int], in file: String, set: Int) throws(KernelError) -> [FunctionLink] {
        var made: [FunctionLink] = []
        for program in Self.probing(timing, sites) {
            let instructions = functions.flatMap { function in
                places(of: function, for: program).map { ProbedInstruction(place: $0, cookie: cookie(of: function, set: set)) }
            }
            if program == Self.ofKernel {
                made.append(try FunctionLink(of: try object.find(program: program), inKernelAt: instructions))
                continue
            }
            made.append(
                try FunctionLink(
                    of: try object.find(program: program), at: instructions, file: file, pid: onlyProcess, asReturnProbes: program == "function_returned",
                    atOnce: atOnce))
        }
        return made
    }

    private func places(of function: Int, for program: String) -> [FunctionPlace] {
        let site = sites[function], isTimed = timing != .none && site.hasTimes
        guard site.isOfKernel == (program == Self.ofKernel), site.isOfKernel || isTimed == (program != "function_counted") else { return [] }
        return program == "function_left" ? site.returns.map { FunctionPlace(offset: $0) } : site.entries
    }

    private func cookie(of function: Int, set: Int) -> UInt64 {
        let site = sites[function]
        return UInt64(function) | (set == 1 ? KILN_PROBE_OF_SECOND_SET : 0) | (site.isGo ? KILN_PROBE_OF_GO : 0)
            | (site.mayJump ? KILN_PROBE_MAY_JUMP : 0)
    }

    /// The functions of a file, or of the kernel, that the kernel can't probe. The kernel names none, so the list is halved again and again.
    private func refusals(among functions: [Int], of file: String) throws(KernelError) -> [Refusal] {
        do throws(KernelError) {
            let programs = Self.probing(timing, sites), probed = functions.flatMap { function in programs.flatMap { places(of: function, for: $0) } }
            if let first = functions.first, sites[first].isOfKernel {
                let besides = probed.map { ProbedInstruction(place: $0, cookie: UInt64(sites.count)) }  // the row that belongs to no function
                _ = try FunctionLink(of: try object.find(program: Self.ofKernel), inKernelAt: besides)
                return []
            }
            _ = try FunctionLink(
                of: try object.find(program: "function_trapped"), at: probed.map { ProbedInstruction(place: $0, cookie: 0) }, file: file,
                pid: getpid(), atOnce: atOnce)
            return []
        } catch {
            guard let first = functions.first else { throw error }
            if functions.count == 1 { return [Refusal(function: first, error: error)] }
            let half = functions.count / 2
            return try refusals(among: Array(functions[..<half]), of: file) + refusals(among: Array(functions[half...]), of: file)
        }
    }

    // MARK: - Letting functions go

    /// Stops probing these functions; their counts stay. A link can't lose a function, so the others get new links before the old ones go, and each call is
    /// counted once all the same: in two sets for a moment, whose difference is known.
    public mutating func letGo(_ functions: Set<Int>) throws(KernelError) {
        let staying = sites.indices.filter { isProbed[$0] && !functions.contains($0) }
        let next = 1 - set
        var made: [FunctionLink] = []
        for (file, all) in functionsByFile {
            let some = all.filter { isProbed[$0] && !functions.contains($0) }
            if !some.isEmpty { made += try links(of: some, in: file, set: next) }
        }
        let difference = try settledDifference(of: staying, next)
        variables.pointee.timing_set = next == 1 ? KILN_PROBE_OF_SECOND_SET : 0
        links = made
        // The old links are gone, and with them the last calls that they counted.
        let counted = try counts()
        for function in functions where isProbed[function] {
            base[function] += counted[function][set]
            isProbed[function] = false
        }
        for function in staying { base[function] += difference[function] }
        set = next
    }

    /// What the present set has counted more than the next one, while both count each call. A call that has met one of them only is no part of it: two
    /// readings agree.
    private func settledDifference(of functions: [Int], _ next: Int) throws(KernelError) -> [Int64] {
        var known = try counts().map { $0[set] - $0[next] }
        for _ in 0..<50 {
            usleep(1000)
            let again = try counts().map { $0[set] - $0[next] }
            let isSettled = functions.allSatisfy { again[$0] == known[$0] }
            known = again
            if isSettled { break }
        }
        return known
    }

    /// What each set of probes has counted, by function.
    private func counts() throws(KernelError) -> [[2 of Int64]] {
        var sums = [[2 of Int64]](repeating: [0, 0], count: sites.count)
        try calls.forEachCopy(of: kiln_function_calls.self, entries: sites.count) { function, copy in
            sums[function][0] &+= Int64(bitPattern: copy.pointee.of_set.0)
            sums[function][1] &+= Int64(bitPattern: copy.pointee.of_set.1)
        }
        return sums
    }

    /// The calls of each function so far.
    public func callCounts() throws(KernelError) -> [UInt64] {
        try counts().enumerated().map { UInt64(max(0, base[$0] + (isProbed[$0] ? $1[set] : 0))) }
    }

    // MARK: - Reading

    /// Adds the cumulative numbers to a snapshot.
    public func read(into snapshot: inout Snapshot) throws(KernelError) {
        var functions = try callCounts().map { calls in
            var count = FunctionCount()
            count.calls = calls
            return count
        }
        if timing != .none { try readTimes(into: &functions) }
        snapshot[FunctionCounts.self] = FunctionCounts(functions: functions)
        try snapshot.addLosses(losses, count: Int(KILN_FUNCTION_LOSS_COUNT.rawValue)) { kiln_describe_function_loss($0) }
        snapshot.addPrograms(object.programCounts())
    }

    private func readTimes(into functions: inout [FunctionCount]) throws(KernelError) {
        let given = min(Int(variables.pointee.times_given), times.capacity)
        var histograms = [FunctionCount](repeating: FunctionCount(), count: given)
        try times.forEachValue(of: kiln_function_times.self, entries: given) { index, times in
            histograms[index].returned = times.pointee.returned
            histograms[index].neverReturned = times.pointee.never_returned
            histograms[index].selfTime = Nanoseconds(times.pointee.self_ns)
            withUnsafePointer(to: times.pointee.slots) { slots in
                slots.withMemoryRebound(to: UInt64.self, capacity: Histogram.slotCount + 1) {
                    histograms[index].time.add(slots: $0, sum: times.pointee.outermost)
                }
            }
        }
        try timesOfRows.forEachValue(of: UInt32.self, entries: functions.count) { row, place in
            guard place.pointee != 0, Int(place.pointee) <= given else { return }
            let calls = functions[row].calls
            functions[row] = histograms[Int(place.pointee) - 1]
            functions[row].calls = calls
        }
    }

    // MARK: - The end

    /// Detaches everything. Counts stay readable.
    public mutating func detach() {
        links = []
        object.detach()
    }

    public func loadedPrograms() -> [LoadedProgram] { object.loadedPrograms() }
}
