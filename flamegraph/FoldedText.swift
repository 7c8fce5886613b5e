extension FoldedStacks {
    /// The merged stacks as folded text: a line for every stack that has weight of its own, siblings in bytewise order. What a terminal
    /// would obey in names is written as visible escapes.
    ///
    /// Two profiles give two numbers a line. Reading the result gives the same tree. A stack that weighs 0 is written when no other stack passes through it.
    public func foldedText() -> [UInt8] {
        var text: [UInt8] = []
        writeFoldedText { text += $0 }
        return text
    }

    /// The same in pieces: text may be larger than the tree that it is written from.
    public func writeFoldedText(_ write: ([UInt8]) throws -> Void) rethrows {
        if names.areShownAsRead { return try writeLines(write) }
        // As they are shown, names may be equal that were not, and have another order.
        var reading = FoldedReading()
        reading.columns = isDifference ? .two : .one
        var shown = FoldedStacks(reading)
        writeLines { $0.withUnsafeBytes { shown.read($0) } }
        shown.endInput()
        try shown.writeFoldedText(write)
    }

    private func writeLines(_ write: ([UInt8]) throws -> Void) rethrows {
        var text: [UInt8] = []
        var path: [UInt8] = []
        // A frame to write, and how much of the path lies before it.
        var open: [(node: UInt32, pathLength: Int)] = [(FrameTree.root, 0)]
        while let (node, pathLength) = open.popLast() {
            path.removeLast(path.count - pathLength)
            if node != FrameTree.root {
                if tree[node].parent != FrameTree.root { path.append(UInt8(ascii: ";")) }
                appendDisplayed(names.bytes(tree[node].name), to: &path)
            }
            var (own, ownBefore) = (tree[node].total, weightBefore(node))
            let children = open.count
            var child = tree.firstChild(node)
            while child != 0 {
                own -= tree[child].total
                ownBefore -= weightBefore(child)
                open.append((child, path.count))
                child = tree[child].nextSibling
            }
            let isLeaf = open.count == children
            if open.count > children + 1 { open[children...].sort { names.isOrderedBefore(tree[$1.node].name, tree[$0.node].name) } }
            guard node != FrameTree.root, own > 0 || isLeaf else { continue }
            text.append(contentsOf: path)
            text.append(UInt8(ascii: " "))
            if isDifference {
                text.append(contentsOf: "\(decimalText(ownBefore, decimals: decimals)) ".utf8)
                own -= ownBefore
            }
            text.append(contentsOf: decimalText(own, decimals: decimals).utf8)
            text.append(UInt8(ascii: "\n"))
            if text.count >= 1 << 16 {
                try write(text)
                text.removeAll(keepingCapacity: true)
            }
        }
        if !text.isEmpty { try write(text) }
    }
}

/// A weight as a decimal number without trailing zeros after the point, groups of three digits divided when asked.
func decimalText(_ weight: UInt64, decimals: Int, grouped: Bool = false) -> String {
    var divisor: UInt64 = 1
    for _ in 0..<decimals { divisor *= 10 }
    let (whole, fraction) = weight.quotientAndRemainder(dividingBy: divisor)
    var text = String(whole)
    if grouped {
        let digits = Array(text)
        text = ""
        for (index, digit) in digits.enumerated() {
            if index > 0, (digits.count - index) % 3 == 0 { text.append(",") }
            text.append(digit)
        }
    }
    guard fraction > 0 else { return text }
    let digits = String(fraction)
    var tail = String(repeating: "0", count: decimals - digits.count) + digits
    while tail.last == "0" { tail.removeLast() }
    return text + "." + tail
}
