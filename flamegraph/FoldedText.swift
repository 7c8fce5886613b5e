extension FoldedStacks {
    /// The merged stacks as folded text: a line for every stack that has weight of its own, siblings in bytewise order. What a terminal
    /// would obey in names is written as visible escapes.
    ///
    /// Two profiles give two numbers a line. Reading the result gives the same tree. A stack that weighs 0 is written when no other stack passes through it.
    public func foldedText() -> [UInt8] {
        var text: [UInt8] = []
        var path: [UInt8] = []
        var isAsRead = true
        // A frame to write, and how much of the path lies before it.
        var open: [(node: UInt32, pathLength: Int)] = [(FrameTree.root, 0)]
        while let (node, pathLength) = open.popLast() {
            path.removeLast(path.count - pathLength)
            if node != FrameTree.root {
                if tree[node].parent != FrameTree.root { path.append(UInt8(ascii: ";")) }
                if !appendDisplayed(names.bytes(tree[node].name), to: &path) { isAsRead = false }
            }
            let children = children(of: node)
            var own = children.reduce(tree[node].total) { $0 - tree[$1].total }
            if node != FrameTree.root, own > 0 || children.isEmpty {
                text.append(contentsOf: path)
                text.append(UInt8(ascii: " "))
                if isDifference {
                    let old = children.reduce(weightBefore(node)) { $0 - weightBefore($1) }
                    text.append(contentsOf: "\(decimalText(old, decimals: decimals)) ".utf8)
                    own -= old
                }
                text.append(contentsOf: decimalText(own, decimals: decimals).utf8)
                text.append(UInt8(ascii: "\n"))
            }
            for child in children.reversed() { open.append((child, path.count)) }
        }
        guard !isAsRead else { return text }
        // As they are shown, names may be equal that were not, and have another order.
        var reading = FoldedReading()
        reading.columns = isDifference ? .two : .one
        return FoldedStacks(parsing: text, reading).foldedText()
    }

    /// A node's children in bytewise order of their names.
    private func children(of node: UInt32) -> [UInt32] {
        var children: [UInt32] = []
        var child = tree.firstChild(node)
        while child != 0 {
            children.append(child)
            child = tree[child].nextSibling
        }
        children.sort { names.isOrderedBefore(tree[$0].name, tree[$1].name) }
        return children
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
