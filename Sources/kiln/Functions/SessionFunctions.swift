import KilnKernel
import KilnModel
import KilnSymbols

/// A function that a session counts.
struct SessionFunction {
    let recorded: RecordedFunction
    let site: FunctionSite
}

/// The functions of a session, and those that were asked for and can't be counted, with the reason.
struct SessionFunctions {
    private(set) var functions: [SessionFunction] = []
    private(set) var refused: [SessionRecord.Functions.Refused] = []
    /// Lines for people.
    let remarks: [String]

    /// Throws a `Failure` if no function can be counted.
    init(_ chosen: ChosenFunctions, timing: FunctionTiming) throws {
        remarks = chosen.remarks
        for part in chosen.files { add(part, timing) }
        guard !functions.isEmpty else {
            guard let first = refused.first else { throw Failure("no function was chosen.") }
            throw Failure(
                refused.count == 1
                    ? "\(first.function) can't be counted: it \(first.reason)."
                    : "none of \(refused.count) functions can be counted; the first, \(first.function): it \(first.reason). --list has all reasons.")
        }
    }

    private mutating func add(_ part: ChosenFunctions.OfFile, _ timing: FunctionTiming) {
        let list = part.list, parts = PartsOfFunctions(list)
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
                        name: name, file: part.file.path, entry: list.isGo ? list.entryBehindStackCheck(of: function) : function.offset, returns: returns,
                        mayJump: mayJump, isGo: list.isGo)))
        }
    }
}

/// The parts of functions that stand elsewhere in their file (`NAME.cold`): a function may return there, too.
private struct PartsOfFunctions {
    private let list: FunctionList
    private let parts: [UInt64: FunctionList.Function]

    init(_ list: FunctionList) {
        self.list = list
        var parts: [UInt64: FunctionList.Function] = [:]
        for index in 0..<list.count where list.isPart(index) {
            let function = list.function(index)
            parts[function.address] = function
        }
        self.parts = parts
    }

    /// `mayJump`: the function may end by a jump to another one.
    func returnPlaces(of function: FunctionList.Function) throws(ReturnPlacesError) -> (returns: [UInt64], mayJump: Bool) {
        let main = try list.returnPlaces(of: function)
        var returns = main.returns, mayJump = !main.indirectJumps.isEmpty
        var seen: Set<UInt64> = []
        for jump in main.tailJumps {
            guard let part = parts[jump.target] else {
                mayJump = true
                continue
            }
            guard seen.insert(part.address).inserted else { continue }
            let places = try list.returnPlaces(of: part)
            returns += places.returns
            let isInside: (UInt64) -> Bool = { $0 >= function.address && $0 - function.address < function.size ?? 0 }
            if places.tailJumps.contains(where: { !isInside($0.target) }) { mayJump = true }
        }
        return (returns, mayJump)
    }
}
