import KilnModel
import KilnSessions

/// The numbers of a page, as bytes (`NumberWriter`). `data.js` reads them.
enum Blocks {
    /// Cells of a command and phase: from the lowest slot to the highest, for each tick the count. Most are 0, and neighbours in time are alike, which
    /// compresses well.
    static func cells(_ cells: Cells) -> [UInt8] {
        guard cells.lowest <= cells.highest else { return [] }
        let ticks = cells.ticks.count
        var dense = [UInt64](repeating: 0, count: (cells.highest - cells.lowest + 1) * ticks)
        for (tick, filled) in cells.ticks.enumerated() {
            for cell in filled { dense[(cell.slot - cells.lowest) * ticks + tick] = cell.count }
        }
        var out = NumberWriter()
        for count in dense { out.write(count) }
        return out.bytes
    }

    /// The order of stacks in the page: callers first, and each followed by what it called, so that most callers are the stack before.
    ///
    /// - Returns: By stack of the trie its number in the page, and the stacks of the trie in the page's order.
    static func order(of trie: StackTrie) -> (numbers: [Int32], stacks: [Int32]) {
        let count = trie.callers.count
        var firstChild = [Int32](repeating: -1, count: count + 1), next = [Int32](repeating: -1, count: count)
        for stack in stride(from: count - 1, through: 0, by: -1) {
            let caller = Int(trie.callers[stack]) + 1
            next[stack] = firstChild[caller]
            firstChild[caller] = Int32(stack)
        }
        var numbers = [Int32](repeating: 0, count: count), stacks: [Int32] = []
        stacks.reserveCapacity(count)
        var open: [Int32] = firstChild[0] < 0 ? [] : [firstChild[0]]
        while let stack = open.popLast() {
            numbers[Int(stack)] = Int32(stacks.count)
            stacks.append(stack)
            if next[Int(stack)] >= 0 { open.append(next[Int(stack)]) }
            if firstChild[Int(stack) + 1] >= 0 { open.append(firstChild[Int(stack) + 1]) }
        }
        return (numbers, stacks)
    }

    /// The number of stacks; then for each stack its number less its caller's, or 0 without a caller; then for each its innermost frame.
    ///
    /// - Parameters:
    ///   - stacks: In the page's order.
    ///   - names: By frame of the trie its place in the page's names.
    static func stacks(_ trie: StackTrie, order: (numbers: [Int32], stacks: [Int32]), names: [Int]) -> [UInt8] {
        var out = NumberWriter()
        out.write(order.stacks.count)
        for (number, stack) in order.stacks.enumerated() {
            let caller = trie.callers[Int(stack)]
            out.write(caller < 0 ? 0 : number - Int(order.numbers[Int(caller)]))
        }
        for stack in order.stacks { out.write(names[Int(trie.innermost[Int(stack)])]) }
        return out.bytes
    }

    /// The counts of stacks of a session, in three parts, each with its length in bytes before it. The first has for each group the number of different
    /// stacks, then for each stack how far it is behind the one before, and its number of ticks. The second has for each of these ticks how far it is
    /// behind the one before; the third the weights.
    static func samples(_ history: StackHistory, numbers: [Int32]) -> [UInt8] {
        var places = NumberWriter(), ticks = NumberWriter(), weights = NumberWriter()
        for entries in history.entries {
            let sorted = merged(entries.map { StackHistory.Entry(stack: numbers[Int($0.stack)], tick: $0.tick, weight: $0.weight) })
            var runs: [Range<Int>] = [], first = 0
            for place in sorted.indices where place + 1 == sorted.count || sorted[place + 1].stack != sorted[place].stack {
                runs.append(first..<(place + 1))
                first = place + 1
            }
            places.write(runs.count)
            var lastStack: Int32 = 0
            for run in runs {
                let stack = sorted[run.lowerBound].stack
                places.write(stack - lastStack)
                places.write(run.count)
                lastStack = stack
                var lastTick: Int32 = 0
                for entry in sorted[run] {
                    ticks.write(entry.tick - lastTick)
                    weights.write(entry.weight)
                    lastTick = entry.tick
                }
            }
        }
        var out = NumberWriter()
        for part in [places, ticks, weights] { out.write(part) }
        return out.bytes
    }

    /// By stack and tick, each once.
    static func merged(_ entries: [StackHistory.Entry]) -> [StackHistory.Entry] {
        var sorted: [StackHistory.Entry] = []
        for entry in entries.sorted(by: { ($0.stack, $0.tick) < ($1.stack, $1.tick) }) {
            if let last = sorted.last, last.stack == entry.stack, last.tick == entry.tick {
                sorted[sorted.count - 1].weight = [last.weight, entry.weight].saturatingSum
            } else {
                sorted.append(entry)
            }
        }
        return sorted
    }
}
