/// Who called whom at what cost, and stacks that fit to it.
///
/// Known of each function are its own cost, and of each call the cost of everything that it did. A function's share of a stack is estimated
/// as gprof does: of all that a function does, each caller causes the part that the cost of its calls has of the cost of all calls of that
/// function. So the sum of each function's own cost over all stacks is exact, and where each function has one caller, every stack is.
///
///     share(stack + callee) = share(stack) · cost(caller → callee) / Σ cost(any → callee)
///     weight(stack)         = share(stack) · own cost of its last function
///
/// Functions that call each other in a circle have no cost of calls that could be divided: they stand beside each other below `[recursion]`.
struct CallGraph {
    private struct Function {
        var name: [UInt8]
        var object: [UInt8]
        var cost: UInt64 = 0
        var calls: [Int: UInt64] = [:]
    }

    private struct Key: Hashable {
        var name: [UInt8]
        var object: [UInt8]
    }

    private var functions: [Function] = []
    private var index: [Key: Int] = [:]
    private(set) var hasCycles = false
    private(set) var countOfSharedFunctions = 0

    /// Less of the whole than this is not divided further: nobody sees it, and there are more stacks than memory.
    private static let smallest = 1.0 / 100_000
    private static let mostVisits = 2_000_000

    mutating func function(_ name: [UInt8], in object: [UInt8]) -> Int {
        let key = Key(name: name, object: object)
        if let known = index[key] { return known }
        index[key] = functions.count
        functions.append(Function(name: name, object: object))
        return functions.count - 1
    }

    /// Adds to a function's own cost. False, and nothing changed, when the sum would overflow.
    mutating func add(_ cost: UInt64, to function: Int) -> Bool {
        let (sum, overflow) = functions[function].cost.addingReportingOverflow(cost)
        if !overflow { functions[function].cost = sum }
        return !overflow
    }

    /// Adds to the cost of the calls of one function by another.
    mutating func add(_ cost: UInt64, from caller: Int, to callee: Int) -> Bool {
        let (sum, overflow) = functions[caller].calls[callee, default: 0].addingReportingOverflow(cost)
        if !overflow { functions[caller].calls[callee] = sum }
        return !overflow
    }

    // MARK: Stacks

    /// A function, or several that call each other in a circle.
    private struct Group {
        var members: [Int]
        /// The part of each called group that is caused here.
        var calls: [(member: Int, group: Int, target: Int, share: Double)] = []
        /// Own cost, and that of what it calls as far as it causes it.
        var cost = 0.0
        /// The part that nobody called.
        var rootShare = 0.0
    }

    mutating func writeStacks(_ stacks: inout CollapsedStacks) {
        let (groupOf, members) = circles()
        var groups = members.map { Group(members: $0) }
        hasCycles = groups.contains { $0.members.count > 1 }

        // What arrives at each group from others, and what it does.
        var arriving = [Double](repeating: 0, count: groups.count)
        var doing = [Double](repeating: 0, count: groups.count)
        var callers = [Int](repeating: 0, count: functions.count)
        for (number, function) in functions.enumerated() {
            doing[groupOf[number]] += Double(function.cost)
            for (callee, cost) in function.calls where groupOf[callee] != groupOf[number] && cost > 0 {
                arriving[groupOf[callee]] += Double(cost)
                doing[groupOf[number]] += Double(cost)
                callers[callee] += 1
            }
        }
        countOfSharedFunctions = callers.filter { $0 > 1 }.count
        // What a group does beyond the cost of its calls nobody called: it began so.
        let whole = groups.indices.map { max(arriving[$0], doing[$0]) }
        for (number, function) in functions.enumerated() {
            for (callee, cost) in function.calls.sorted(by: { $0.key < $1.key }) where groupOf[callee] != groupOf[number] && cost > 0 {
                let group = groupOf[callee]
                groups[groupOf[number]].calls.append((number, group, callee, Double(cost) / max(whole[group], 1)))
            }
        }
        // Groups are in the order in which callees come first.
        for number in groups.indices {
            groups[number].cost = groups[number].members.reduce(0.0) { $0 + Double(functions[$1].cost) }
            for call in groups[number].calls { groups[number].cost += call.share * groups[call.group].cost }
            groups[number].rootShare = arriving[number] > 0 ? max(0, 1 - arriving[number] / max(whole[number], 1)) : 1
        }
        walk(groups, &stacks)
    }

    private struct Visit {
        var group: Int
        /// The function that was called, and so stands in the stack.
        var target: Int
        var share: Double
        var depth: Int
        /// The caller, where it is one of several in a circle.
        var caller: UInt32?
    }

    private func walk(_ groups: [Group], _ stacks: inout CollapsedStacks) {
        var total: UInt64 = 0
        for function in functions {
            let (sum, overflow) = total.addingReportingOverflow(function.cost)
            guard !overflow else { return stacks.reject(function.name, .weightTooLarge) }
            total = sum
        }
        let (small, recursion) = (stacks.intern(Array("[small]".utf8)), stacks.intern(Array("[recursion]".utf8)))
        let names = functions.map { stacks.intern(Self.shown($0.name, $0.object, stacks.options)) }

        // Sums are rounded, not their parts, so that the total is exact.
        var (sum, written): (Double, UInt64) = (0, 0)
        var last: [UInt32] = []
        func emit(_ weight: Double, _ stack: [UInt32], _ stacks: inout CollapsedStacks) {
            sum += weight
            guard let rounded = UInt64(exactly: (sum + 1e-6).rounded(.down)), rounded > written, rounded <= total else { return }
            last = stack.reversed()
            stacks.add(rounded - written, last, below: nil)
            written = rounded
        }

        var path: [UInt32] = []
        var visits = 0
        var open: [Visit] = groups.indices.filter { groups[$0].rootShare * groups[$0].cost > 0 }.map {
            Visit(group: $0, target: groups[$0].members[0], share: groups[$0].rootShare, depth: 0)
        }
        while let visit = open.popLast() {
            visits += 1
            path.removeLast(path.count - visit.depth)
            if let caller = visit.caller { path.append(caller) }
            let group = groups[visit.group]
            let isDivided = visit.share * group.cost >= Double(total) * Self.smallest && path.count < CollapsedStacks.depthLimit - 3 && visits < Self.mostVisits
            guard isDivided || group.calls.isEmpty && group.members.count == 1 else {
                emit(visit.share * group.cost, path + [names[visit.target], small], &stacks)
                continue
            }
            let isCircle = group.members.count > 1
            path.append(isCircle ? recursion : names[visit.target])
            for member in group.members { emit(visit.share * Double(functions[member].cost), isCircle ? path + [names[member]] : path, &stacks) }
            for call in group.calls where visit.share * call.share * groups[call.group].cost > 0 {
                open.append(
                    Visit(
                        group: call.group, target: call.target, share: visit.share * call.share, depth: path.count,
                        caller: isCircle ? names[call.member] : nil))
            }
        }
        if total > written { stacks.add(total - written, last, below: nil) }
    }

    /// The circles of functions that call each other, each function without one alone; callees come before their callers. (Tarjan's algorithm)
    private func circles() -> (groupOf: [Int], members: [[Int]]) {
        let targets = functions.map { $0.calls.filter { $0.value > 0 }.keys.sorted() }
        var (groupOf, members) = ([Int](repeating: -1, count: functions.count), [[Int]]())
        var order = [Int](repeating: -1, count: functions.count)
        var lowest = order
        var (count, waiting, open) = (0, [Int](), [(function: Int, next: Int)]())
        for start in functions.indices where order[start] < 0 {
            open.append((start, 0))
            while let (function, next) = open.popLast() {
                if next == 0 {
                    (order[function], lowest[function]) = (count, count)
                    count += 1
                    waiting.append(function)
                }
                if next < targets[function].count {
                    open.append((function, next + 1))
                    let target = targets[function][next]
                    if order[target] < 0 {
                        open.append((target, 0))
                    } else if groupOf[target] < 0 {
                        lowest[function] = min(lowest[function], order[target])
                    }
                    continue
                }
                if let (caller, _) = open.last { lowest[caller] = min(lowest[caller], lowest[function]) }
                guard lowest[function] == order[function] else { continue }
                var group: [Int] = []
                while let member = waiting.popLast() {
                    groupOf[member] = members.count
                    group.append(member)
                    if member == function { break }
                }
                members.append(group.sorted())
            }
        }
        return (groupOf, members)
    }

    /// Without the number that callgrind gives to a level of recursion: `f'2`.
    private static func shown(_ name: [UInt8], _ object: [UInt8], _ options: CollapseOptions) -> [UInt8] {
        var name = name[...]
        if let quote = name.lastIndex(of: UInt8(ascii: "'")), quote > 0, quote + 1 < name.count, name[(quote + 1)...].allSatisfy(\.isDecimalDigit) {
            name = name[..<quote]
        }
        let isAddress = name.starts(with: "0x".utf8) && name.dropFirst(2).allSatisfy(\.isHexadecimalDigit)
        let isUnknown = isAddress || name.elementsEqual("???".utf8)
        let module = object.elementsEqual("???".utf8) ? [] : object[...]
        return functionName(isUnknown ? [] : name, module: module, address: isAddress ? name.dropFirst(2) : [], options)
    }
}
