import KilnKernel
import KilnModel
import KilnSymbols

/// A function, of a file or of the kernel, or a static probe that a session counts.
struct SessionFunction {
    let recorded: RecordedFunction
    let site: FunctionSite
}

/// The functions of a session, and those that were asked for and can't be counted, with the reason.
struct SessionFunctions {
    private(set) var functions: [SessionFunction] = []
    private(set) var refused: [SessionRecord.Functions.Refused] = []
    /// Lines for people.
    private(set) var remarks: [String]

    /// Throws a `Failure` if no function can be counted.
    init(_ chosen: ChosenFunctions, timing: FunctionTiming) throws {
        remarks = chosen.remarks
        for part in chosen.files {
            add(part, timing)
            addStaticProbes(part)
        }
        if timing != .none, functions.contains(where: { !$0.site.hasTimes }) {
            remarks.append("static probes are counted without times: they are single instructions, which have no return.")
        }
        if !chosen.kernel.isEmpty { try addKernelFunctions(chosen.kernel, timing) }
        guard !functions.isEmpty else {
            guard let first = refused.first else { throw Failure("no function was chosen.") }
            throw Failure(
                refused.count == 1
                    ? "\(first.function) can't be counted: it \(first.reason)."
                    : "none of \(refused.count) functions can be counted; the first, \(first.function): it \(first.reason). --list has all reasons.")
        }
    }

    private mutating func add(_ part: ChosenFunctions.OfFile, _ timing: FunctionTiming) {
        let list = part.list, parts = PartsOfFunctions(list, probed: Set(part.functions.lazy.filter { $0.obstacle == nil }.map(\.address)))
        for (function, name) in zip(part.functions, part.functions.distinctNames) {
            let recorded = RecordedFunction(name: name, file: part.file.name)
            if let obstacle = function.obstacle {
                refused.append(.init(recorded, reason: "\(obstacle)"))
                continue
            }
            if list.isGo, timing == .returnProbes {
                refused.append(.init(recorded, reason: "is Go, whose programs a return probe ends: leave --return-probes out"))
                continue
            }
            var returns: [UInt64] = [], mayJump = true
            if timing != .none {
                switch Result(catching: { try parts.returnPlaces(of: function) }) {
                case .success(let places): (returns, mayJump) = (places.returns, places.mayJump)
                case .failure(let error) where timing == .returnInstructions:
                    refused.append(.init(recorded, reason: "can't be timed: \(error)"))
                    continue
                case .failure: break
                }
            }
            functions.append(
                SessionFunction(
                    recorded: recorded,
                    site: FunctionSite(
                        name: name, file: part.file.path, entry: entry(of: function, list), returns: returns, mayJump: mayJump, isGo: list.isGo)))
        }
    }

    /// A function may begin with a static probe. The kernel demands of all probes of an instruction that they name the same semaphore.
    private func entry(of function: FunctionList.Function, _ list: FunctionList) -> FunctionPlace {
        let offset = list.isGo ? list.entryBehindStackCheck(of: function) : function.offset
        return FunctionPlace(offset: offset, semaphore: list.staticProbes.first { $0.offset == offset }?.semaphore ?? 0)
    }

    private mutating func addKernelFunctions(_ chosen: [KernelFunctions.Function], _ timing: FunctionTiming) throws {
        do { try Capabilities.requireKernelFunctions() } catch { throw Failure("\(error)") }
        var addresses: [String: [UInt64]] = [:]
        do {
            let names = Set(chosen.map(\.name))
            try KernelSymbols().forEachFunction { name, module, address in
                if names.contains(name) { addresses[name + module, default: []].append(address) }
            }
        } catch {
            throw Failure("\(error)")
        }
        var known: Set<String> = []
        for function in chosen where known.insert(function.name + function.module).inserted {
            let recorded = RecordedFunction(name: "kernel:\(function.name)", file: function.module, hasTimes: false)
            guard let places = addresses[function.name + function.module] else {
                refused.append(.init(recorded, reason: "has no address in /proc/kallsyms"))
                continue
            }
            functions.append(SessionFunction(recorded: recorded, site: FunctionSite(kernelFunction: recorded.name, addresses: places)))
        }
        if timing != .none { remarks.append("functions of the kernel are counted without times.") }
    }

    /// A static probe is one row, however many places it has.
    private mutating func addStaticProbes(_ part: ChosenFunctions.OfFile) {
        var places: [String: [FunctionPlace]] = [:], names: [String] = []
        for probe in part.staticProbes {
            let name = "usdt:\(probe.provider):\(probe.name)"
            if places[name] == nil { names.append(name) }
            places[name, default: []].append(FunctionPlace(offset: probe.offset, semaphore: probe.semaphore))
        }
        for name in names {
            functions.append(
                SessionFunction(
                    recorded: RecordedFunction(name: name, file: part.file.name, hasTimes: false),
                    site: FunctionSite(staticProbe: name, file: part.file.path, places: places[name] ?? [])))
        }
    }
}

/// Where functions end, in all their parts: a function may return in a part that stands elsewhere in its file (`NAME.cold`), too.
///
/// A jump to another function ends it as a return does, if that other function isn't probed. If it is, both return together.
private struct PartsOfFunctions {
    private let list: FunctionList
    private let probed: Set<UInt64>
    private let parts: [UInt64: FunctionList.Function]

    init(_ list: FunctionList, probed: Set<UInt64>) {
        self.list = list
        self.probed = probed
        var parts: [UInt64: FunctionList.Function] = [:]
        for index in 0..<list.count where list.isPart(index) {
            let function = list.function(index)
            parts[function.address] = function
        }
        self.parts = parts
    }

    /// `mayJump`: the function may end by a jump that is not among `returns`.
    func returnPlaces(of function: FunctionList.Function) throws(ReturnPlacesError) -> (returns: [UInt64], mayJump: Bool) {
        var returns: [UInt64] = [], mayJump = false, seen: Set<UInt64> = []
        var rest = [function]
        while let part = rest.popLast() {
            let places = try list.returnPlaces(of: part)
            returns += places.returns
            if !places.indirectJumps.isEmpty { mayJump = true }
            for jump in places.tailJumps {
                if jump.target >= function.address && jump.target - function.address < function.size ?? 0 { continue }
                if let next = parts[jump.target] {
                    if seen.insert(next.address).inserted { rest.append(next) }
                } else if jump.isConditional || probed.contains(jump.target) {
                    mayJump = true
                } else {
                    returns.append(jump.offset)
                }
            }
        }
        return (returns, mayJump)
    }
}
