/// Stacks and their weights: each distinct stack once, as the numbers of its frames' names.
struct StackCounts: ~Copyable {
    private struct Slot: BitwiseCopyable {
        var hash: UInt64
        /// Index in `stacks` plus one; 0 is an empty slot.
        var indexPlusOne: Int
    }

    private struct Stack {
        var start: Int
        var length: Int
        var weight: UInt64
    }

    private var slots = [Slot](repeating: Slot(hash: 0, indexPlusOne: 0), count: 1 << 12)
    private var stacks: [Stack] = []
    /// The frames of all stacks, leaf first.
    private var frames: [UInt32] = []

    var count: Int { stacks.count }

    /// The weight of all stacks.
    private(set) var total: UInt64 = 0

    /// Adds weight to a stack, given leaf first. False, and nothing changed, when the weight of all stacks would overflow.
    mutating func add(_ weight: UInt64, to stack: [UInt32]) -> Bool {
        let (whole, overflow) = total.addingReportingOverflow(weight)
        if overflow { return false }
        total = whole
        let hash = stack.withUnsafeBytes { ByteHash.hash($0) }
        var slot = Int(truncatingIfNeeded: hash) & (slots.count - 1)
        while slots[slot].indexPlusOne != 0 {
            let index = slots[slot].indexPlusOne - 1
            if slots[slot].hash == hash, frames[range(stacks[index])].elementsEqual(stack) {
                stacks[index].weight += weight
                return true
            }
            slot = (slot + 1) & (slots.count - 1)
        }
        stacks.append(Stack(start: frames.count, length: stack.count, weight: weight))
        frames.append(contentsOf: stack)
        slots[slot] = Slot(hash: hash, indexPlusOne: stacks.count)
        if stacks.count * 2 > slots.count { growTable() }
        return true
    }

    private mutating func growTable() {
        let old = slots
        slots = [Slot](repeating: Slot(hash: 0, indexPlusOne: 0), count: old.count * 2)
        for entry in old where entry.indexPlusOne != 0 {
            var slot = Int(truncatingIfNeeded: entry.hash) & (slots.count - 1)
            while slots[slot].indexPlusOne != 0 { slot = (slot + 1) & (slots.count - 1) }
            slots[slot] = entry
        }
    }

    private func range(_ stack: Stack) -> Range<Int> { stack.start..<(stack.start + stack.length) }

    /// Calls `body` with every stack, root first, and its weight, in the order of their frames' names.
    /// - Parameter rank: the place of each name in the order of all names.
    func forEachSorted(rank: [UInt32], _ body: (ReversedCollection<ArraySlice<UInt32>>, UInt64) throws -> Void) rethrows {
        let ranks = frames.map { rank[Int($0)] }
        let order = ranks.withUnsafeBufferPointer { ranks in
            stacks.sorted { left, right in
                var (at, other) = (left.start + left.length, right.start + right.length)
                while at > left.start, other > right.start {
                    (at, other) = (at &- 1, other &- 1)
                    if ranks[at] != ranks[other] { return ranks[at] < ranks[other] }
                }
                return at == left.start && other > right.start
            }
        }
        for stack in order { try body(frames[range(stack)].reversed(), stack.weight) }
    }

    /// The folded text in pieces of some hundred kilobytes, its lines in the order of their frames' names.
    func writeFolded(_ names: borrowing FrameNames, _ write: ([UInt8]) throws -> Void) throws {
        let order = sortedNames(names)
        var rank = [UInt32](repeating: 0, count: order.count)
        for (place, name) in order.enumerated() { rank[Int(name)] = UInt32(place) }
        var text: [UInt8] = []
        try forEachSorted(rank: rank) { stack, weight in
            let line = text.count
            var isFirst = true
            for frame in stack {
                if !isFirst { text.append(UInt8(ascii: ";")) }
                appendDisplayed(names.bytes(frame), to: &text)
                isFirst = false
            }
            // A line that begins with this and a blank is a comment.
            if text.count > line, text[line] == UInt8(ascii: "#") {
                if text.count == line + 1 {
                    text.append(UInt8(ascii: "_"))
                } else if text[line + 1].isSpace {
                    text[line + 1] = UInt8(ascii: "_")
                }
            }
            text.append(UInt8(ascii: " "))
            text.append(contentsOf: String(weight).utf8)
            text.append(UInt8(ascii: "\n"))
            guard text.count > 1 << 18 else { return }
            try write(text)
            text.removeAll(keepingCapacity: true)
        }
        if !text.isEmpty { try write(text) }
    }

    private func sortedNames(_ names: borrowing FrameNames) -> [UInt32] {
        var order = Array(0..<UInt32(names.count))
        order.sort { names.isOrderedBefore($0, $1) }
        return order
    }
}

/// Leaves one of consecutive equal frames.
func mergeRecursion(_ stack: inout [UInt32]) {
    var kept = 0
    for frame in stack where kept == 0 || stack[kept - 1] != frame {
        stack[kept] = frame
        kept += 1
    }
    stack.removeLast(stack.count - kept)
}
