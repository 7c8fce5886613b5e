/// One input, read in two parts at the same time.
extension FoldedStacks {
    /// Whether the rest of the input may be read in parts: each line is understood without the others. Most stacks of a second
    /// profile are there already, and a part would have them once more.
    public var canBeDivided: Bool { columns == .one && !reading.keepsOrder && !readsCommands && firstProfile == nil }

    /// For a later part of the same input, which begins with a line: read it elsewhere, then call `append`.
    public func laterPart() -> FoldedStacks {
        var part = FoldedStacks(reading)
        part.columns = columns
        part.inputIndex = inputIndex
        part.isLaterPart = true
        return part
    }

    /// Adds the part of the input that follows what was read here, and empties it. The result is that of reading one after the other.
    ///
    /// - Returns: false, with nothing changed, when a line is open here, or when together they need more than 64 bits or too many
    ///   frames: which lines can't be counted then depends on those before them, so this part has to be read here.
    public mutating func append(_ part: inout FoldedStacks) -> Bool {
        if !pending.isEmpty || part.isFull || tree.count + part.tree.count > FrameTree.maximumCount / 2 { return false }
        let finest = max(decimals, part.decimals)
        guard let grown = scaled(total, from: decimals, to: finest), let more = scaled(part.total, from: part.decimals, to: finest),
            !grown.addingReportingOverflow(more).overflow
        else { return false }
        scaleWeights(by: powerOfTen(finest - decimals))
        part.scaleWeights(by: powerOfTen(finest - part.decimals))
        decimals = finest
        for kind in weightByLeafKind.indices { weightByLeafKind[kind] += part.weightByLeafKind[kind] }
        tree.merge(&part.tree, names: names.indices(of: part.names))

        acceptedLines += part.acceptedLines
        blankLines += part.blankLines
        commentLines += part.commentLines
        inputMeasure.add(part.inputMeasure)
        sawBase = sawBase || part.sawBase
        rejectedCount += part.rejectedCount
        for var line in part.rejectedLines.prefix(Self.rejectedLimit - rejectedLines.count) {
            line.number += lineNumber
            rejectedLines.append(line)
        }
        lineNumber += part.lineNumber
        pending = part.pending
        forgetPrevious()
        part = FoldedStacks(reading)
        return true
    }
}
