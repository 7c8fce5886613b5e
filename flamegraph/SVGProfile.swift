/// The profile as the script reads it.
extension SVGDocument {
    /// What the script needs, as JSON in an element that is never drawn. `frames` holds five numbers for each box,
    /// parents first: depth, index of the name, start, total and own weight; with two profiles seven, the last two
    /// what of total and own weight the first profile has. Weights are quoted when a total beyond 2^53 would lose
    /// digits as a number.
    mutating func writeProfile(_ stacks: borrowing FoldedStacks) {
        out.literal("<metadata class=\"profile\">{")
        out.profileOptions(options, top: top, decimals: stacks.decimals)
        out.literal(",\"title\":")
        out.jsonString(options.title.utf8)
        out.literal(",\"subtitle\":")
        out.jsonString(options.subtitle.utf8)
        out.literal(",\"foot\":[")
        for (index, line) in foot.enumerated() {
            if index > 0 { out.literal(",") }
            out.jsonString(line.utf8)
        }
        out.literal("],")
        out.profileKinds(areMarked: stacks.names.haveKinds)
        out.literal(",")
        if stacks.isDifference { writeDifference() }
        if stacks.areByCommand { writeCommands(stacks) }
        writeNames(stacks)
        writeFrames(stacks)
        out.literal("}</metadata>\n")
    }

    private mutating func writeDifference() {
        out.literal("\"difference\":{\"scale\":")
        out.jsonNumber(options.difference.beforeScale)
        out.literal(",\"sample\":")
        if let sample = options.difference.sampleWeight { out.jsonNumber(sample) } else { out.literal("null") }
        out.literal(options.difference.isNegated ? ",\"negated\":true}," : ",\"negated\":false},")
    }

    private mutating func writeNames(_ stacks: borrowing FoldedStacks) {
        var paints = PaintList(stacks)
        var list = NameList(rootPaint: paints.index(of: FrameTree.root, stacks, self))
        places = [Int32](repeating: 0, count: 2 * stacks.names.count)
        for box in layout.boxes.dropFirst() {
            let name = stacks.tree[box.node].name
            let key = nameKey(stacks, box.node)
            guard places[key] == 0 else { continue }
            let kind = isProcess(stacks, box.node) ? Paint.processFamily : Paint.family(of: stacks.names.kind(name))
            let paint = paints.index(of: box.node, stacks, self)
            places[key] = Int32(list.add(stacks.names.shownBytes(name), kind: kind, paint: paint, attributes(stacks, box.node)))
        }
        out.profileNames(list, paints)
    }

    /// A process may be called like a function.
    func nameKey(_ stacks: borrowing FoldedStacks, _ node: UInt32) -> Int {
        2 * Int(stacks.tree[node].name) + (isProcess(stacks, node) ? 1 : 0)
    }

    private mutating func writeFrames(_ stacks: borrowing FoldedStacks) {
        out.literal(",\n\"frames\":[")
        let quoted = stacks.total > 1 << 53
        for (index, box) in layout.boxes.enumerated() {
            if index > 0 { out.literal(",\n") }
            out.integer(box.depth)
            out.literal(",")
            out.integer(box.depth == 0 ? 0 : places[nameKey(stacks, box.node)])
            writeWeight(box.start, quoted)
            writeWeight(box.total, quoted)
            writeWeight(box.own, quoted)
            guard stacks.isDifference else { continue }
            writeWeight(box.before, quoted)
            writeWeight(box.ownBefore, quoted)
        }
        out.literal("]")
    }

    private mutating func writeWeight(_ weight: UInt64, _ quoted: Bool) {
        out.literal(",")
        out.weight(weight, quoted)
    }
}

extension MarkupWriter {
    mutating func weight(_ weight: UInt64, _ quoted: Bool) {
        if quoted { literal("\"") }
        integer(weight)
        if quoted { literal("\"") }
    }
}
