/// Two profiles of one number a line, read one after the other into one tree.
extension FoldedStacks {
    /// What was read is the first profile; what is read next is the second.
    public mutating func beginSecondProfile() {
        firstProfile = Profile(total: total, decimals: decimals, acceptedLines: acceptedLines, measure: measure, sampleWeight: sampleWeight)
        for node in 0..<UInt32(tree.count) { _ = before.append(tree.takeWeight(of: node)) }
        weightByLeafKind = weightByLeafKind.map { _ in 0 }
        decimals = 0
        measure = Measure()
        commands = CommandWeights()
        isFirstInput = true
        (acceptedLines, blankLines, commentLines, rejectedCount, rejectedLines) = (0, 0, 0, 0, [])
        isFull = false
    }

    /// The two profiles become stacks of two numbers.
    ///
    /// With `normalized`, the first profile's weights are multiplied so that both profiles weigh the same, and rounded to
    /// the third digit after the point: what is compared is then the share of each stack.
    ///
    /// - Returns: false when the weights need more than 64 bits.
    public mutating func pairProfiles(normalized: Bool) -> Bool {
        guard let first = firstProfile else { return false }
        let isScaled = normalized && first.total > 0 && total > 0
        let finest = max(first.decimals, decimals, isScaled ? 3 : 0)
        guard let old = scaled(first.total, from: first.decimals, to: finest), let new = scaled(total, from: decimals, to: finest) else {
            return false
        }
        if isScaled ? new > UInt64.max / 2 : old.addingReportingOverflow(new).overflow { return false }
        firstProfile = nil
        var merged = first.measure.merged(with: measure)
        // Scaled, numbers don't tell any more what a sample weighs.
        if isScaled, merged.sampleWeight == nil, merged.unit != Measure.mixedUnit {
            merged.sampleWeight = Self.weightOfBoth(first.sampleWeight, sampleWeight)
        }
        tree.scaleWeights(by: powerOfTen(finest - decimals))
        let unit = powerOfTen(finest - first.decimals)
        let scale: (numerator: UInt64, denominator: UInt64) = isScaled ? (new, old) : (1, 1)
        if unit != 1 || isScaled {
            changeOwnWeightsBefore { own in
                let (quotient, remainder) = scale.denominator.dividingFullWidth((own * unit).multipliedFullWidth(by: scale.numerator))
                // Rounded half up. A stack that was there does not vanish by rounding.
                let weight = quotient + (remainder >= scale.denominator - remainder ? 1 : 0)
                return own > 0 && weight == 0 ? 1 : weight
            }
        }
        while before.count < tree.count { _ = before.append(0) }
        for node in 0..<UInt32(tree.count) { tree.add(before[node], to: node) }
        decimals = finest
        isDifference = true
        acceptedLines += first.acceptedLines
        measure = merged
        measure.beforeScale = isScaled ? Double(scale.numerator) / Double(scale.denominator) : nil
        reduceDecimals()
        return true
    }

    /// The weight of a sample in two profiles: the larger one, which colours less. Counts of which only one has small numbers are counts.
    private static func weightOfBoth(_ old: Double?, _ new: Double?) -> Double? {
        guard let old, let new else { return old == 1 || new == 1 ? 1 : nil }
        return max(old, new)
    }

    /// A node's place is behind its parent's, so one pass takes the children's weights away and another one adds them again.
    private func changeOwnWeightsBefore(_ change: (UInt64) -> UInt64) {
        let nodes = UInt32(before.count)
        for node in 1..<max(nodes, 1) { before.pointer(tree[node].parent).pointee -= before[node] }
        for node in 0..<nodes { before.pointer(node).pointee = change(before[node]) }
        for node in (1..<max(nodes, 1)).reversed() { before.pointer(tree[node].parent).pointee += before[node] }
    }

    /// Takes digits after the point away that are 0 in every weight.
    private mutating func reduceDecimals() {
        while decimals > 0 {
            for node in 0..<UInt32(tree.count) where tree[node].total % 10 != 0 || before[node] % 10 != 0 { return }
            for node in 0..<UInt32(tree.count) {
                tree.divideWeight(of: node, by: 10)
                before.pointer(node).pointee /= 10
            }
            decimals -= 1
        }
    }

    /// The first profile, while the second is read; its weights are in `before`, in units of its own decimals.
    struct Profile {
        var total: UInt64
        var decimals: Int
        var acceptedLines: Int
        var measure: Measure
        /// As the text says, or its numbers tell.
        var sampleWeight: Double?
    }
}
