/// Two profiles, read one after the other, as one tree with two weights.
extension FoldedStacks {
    /// Two profiles of one number a line become one of two.
    ///
    /// With `normalized`, the first profile's weights are multiplied so that both profiles weigh the same, and rounded to
    /// the third digit after the point: what is compared is then the share of each stack.
    ///
    /// - Returns: nil when the weights need more than 64 bits.
    public static func pair(
        before first: borrowing FoldedStacks, after second: borrowing FoldedStacks, normalized: Bool
    ) -> FoldedStacks? {
        var reading = FoldedReading()
        reading.columns = .two
        var pair = FoldedStacks(reading)
        let isScaled = normalized && first.total > 0 && second.total > 0
        let decimals = max(first.decimals, second.decimals, isScaled ? 3 : 0)
        guard let unit = scaled(1, from: first.decimals, to: decimals), let other = scaled(1, from: second.decimals, to: decimals),
            !first.total.multipliedReportingOverflow(by: unit).overflow,
            !second.total.multipliedReportingOverflow(by: other).overflow
        else { return nil }
        let (old, new) = (first.total * unit, second.total * other)
        let scale: (numerator: UInt64, denominator: UInt64) = isScaled ? (new, old) : (1, 1)
        if !isScaled, old.addingReportingOverflow(new).overflow { return nil }
        if isScaled, new > UInt64.max / 2 { return nil }
        pair.decimals = decimals
        pair.isDifference = true
        pair.measure = first.measure.merged(with: second.measure)
        pair.addAll(of: first, multipliedBy: unit, scale: scale, isBefore: true)
        pair.addAll(of: second, multipliedBy: other, scale: (1, 1), isBefore: false)
        pair.reduceDecimals()
        pair.beforeScale = Double(scale.numerator) / Double(scale.denominator)
        return pair
    }

    private mutating func addAll(
        of stacks: borrowing FoldedStacks, multipliedBy unit: UInt64, scale: (numerator: UInt64, denominator: UInt64),
        isBefore: Bool
    ) {
        // A node there and what it is here.
        var open: [(there: UInt32, here: UInt32)] = [(FrameTree.root, FrameTree.root)]
        while let (there, here) = open.popLast() {
            var own = stacks.tree[there].total
            var child = stacks.tree.firstChild(there)
            while child != 0 {
                own -= stacks.tree[child].total
                let name = names.intern(Array(stacks.names.bytes(stacks.tree[child].name)))
                open.append((child, tree.child(of: here, named: name)))
                child = stacks.tree[child].nextSibling
            }
            while before.count < tree.count { _ = before.append(0) }
            let (high, low) = (own * unit).multipliedFullWidth(by: scale.numerator)
            let (quotient, remainder) = scale.denominator.dividingFullWidth((high, low))
            // Rounded half up. A stack that was there does not vanish by rounding.
            var weight = quotient + (remainder >= scale.denominator - remainder ? 1 : 0)
            if own > 0, weight == 0 { weight = 1 }
            add(weight, at: here, isBefore: isBefore)
        }
        acceptedLines += stacks.acceptedLines
    }

    private mutating func add(_ weight: UInt64, at leaf: UInt32, isBefore: Bool) {
        guard weight > 0 else { return }
        var node = leaf
        while true {
            tree.add(weight, to: node)
            if isBefore { before.pointer(node).pointee += weight }
            if node == FrameTree.root { break }
            node = tree[node].parent
        }
        if leaf != FrameTree.root { weightByLeafKind[Int(names.kind(tree[leaf].name).rawValue)] += weight }
    }

    /// Takes digits after the point away that are 0 in every weight.
    private mutating func reduceDecimals() {
        while decimals > 0 {
            for node in 0..<UInt32(tree.count) where tree[node].total % 10 != 0 || before[node] % 10 != 0 { return }
            for node in 0..<UInt32(tree.count) {
                tree.divideWeight(of: node, by: 10)
                before.pointer(node).pointee /= 10
            }
            for kind in weightByLeafKind.indices { weightByLeafKind[kind] /= 10 }
            decimals -= 1
        }
    }
}
