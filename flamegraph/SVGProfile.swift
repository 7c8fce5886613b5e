/// The profile as the script reads it.
extension SVGDocument {
    /// What the script needs, as JSON in an element that is never drawn. `frames` holds five numbers for each box,
    /// parents first: depth, index of the name, start, total and own weight; with two profiles seven, the last two
    /// what of total and own weight the first profile has. Weights are quoted when a total beyond 2^53 would lose
    /// digits as a number.
    mutating func writeProfile(_ stacks: borrowing FoldedStacks) {
        out.literal("<metadata class=\"profile\">{\"version\":2,\"unit\":")
        out.jsonString(options.countName.utf8)
        out.literal(",\"decimals\":")
        out.integer(stacks.decimals)
        out.literal(",\"rowHeight\":")
        out.integer(options.rowHeight)
        out.literal(",\"fontSize\":")
        out.pixels(options.fontSize)
        out.literal(",\"top\":")
        out.integer(top)
        out.literal(",\"minimum\":")
        out.jsonNumber(options.minWidth / 100)
        out.literal(options.isFluid ? ",\"fluid\":true,\"nameType\":" : ",\"fluid\":false,\"nameType\":")
        out.jsonString(options.nameType.utf8)
        out.literal(",\"cut\":")
        out.jsonString(options.nameCut.rawValue.utf8)
        out.literal(options.inverted ? ",\"inverted\":true,\"title\":" : ",\"inverted\":false,\"title\":")
        out.jsonString(options.title.utf8)
        out.literal(",\"subtitle\":")
        out.jsonString(options.subtitle.utf8)
        out.literal(",\"foot\":[")
        for (index, line) in foot.enumerated() {
            if index > 0 { out.literal(",") }
            out.jsonString(line.utf8)
        }
        out.literal("],\"kinds\":{")
        for (index, kind) in FrameKind.allCases.enumerated() {
            if index > 0 { out.literal(",") }
            out.jsonString(String(Paint.family(of: kind)).utf8)
            out.literal(":")
            // Text without marks says of no frame what it is.
            out.jsonString((stacks.names.haveKinds ? kind.label : "").utf8)
        }
        out.literal(",\"p\":\"process\"},")
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

    /// Each name once, with the letter of its kind and the index of its paint.
    private mutating func writeNames(_ stacks: borrowing FoldedStacks) {
        out.literal("\"names\":[\"all\"")
        var kinds = "a"
        var paints = PaintList(stacks)
        _ = paints.index(of: FrameTree.root, stacks, self)
        var paintOf = MarkupWriter()
        paintOf.literal("0")
        var functions = MarkupWriter()
        functions.literal("0,0")
        places = [Int32](repeating: 0, count: 2 * stacks.names.count)
        var place = 0
        var attributes = MarkupWriter()
        for box in layout.boxes.dropFirst() {
            let name = stacks.tree[box.node].name
            let isProcess = isProcess(stacks, box.node)
            let key = nameKey(stacks, box.node)
            guard places[key] == 0 else { continue }
            place += 1
            places[key] = Int32(place)
            out.literal(",\n")
            out.jsonString(stacks.names.shownBytes(name))
            kinds.append(isProcess ? Paint.processFamily : Paint.family(of: stacks.names.kind(name)))
            paintOf.literal(",")
            paintOf.integer(paints.index(of: box.node, stacks, self))
            let function = NameCut.functionName(in: stacks.names.shownBytes(name)) ?? 0..<0
            for end in [function.lowerBound, function.upperBound] {
                functions.literal(",")
                functions.integer(end)
            }
            if let more = self.attributes(stacks, box.node) { attributes.attributes(more, of: place) }
        }
        out.literal("],\n\"kindOf\":")
        out.jsonString(kinds.utf8)
        out.literal(",\n\"paints\":[")
        for (index, paint) in paints.all.enumerated() {
            if index > 0 { out.literal(",") }
            out.jsonString(paint.className.utf8)
            out.literal(",")
            out.jsonString((paint.fill.map(hexColor) ?? "").utf8)
        }
        out.literal("],\n\"paintOf\":[")
        out.raw(paintOf.bytes)
        // Where the function's own name begins and ends in each name; equal where that is all or nothing of it.
        out.literal("],\n\"functionOf\":[")
        out.raw(functions.bytes)
        out.literal("],\n\"attributes\":{")
        out.raw(Array(attributes.bytes.dropFirst()))
    }

    /// A process may be called like a function.
    func nameKey(_ stacks: borrowing FoldedStacks, _ node: UInt32) -> Int {
        2 * Int(stacks.tree[node].name) + (isProcess(stacks, node) ? 1 : 0)
    }

    private mutating func writeFrames(_ stacks: borrowing FoldedStacks) {
        out.literal("},\n\"frames\":[")
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
    /// A comma, and what is said of the name at this place.
    fileprivate mutating func attributes(_ attributes: FrameAttributes, of place: Int) {
        literal(",\"")
        integer(place)
        literal("\":{\"title\":")
        jsonString((attributes.title ?? "").utf8)
        literal(",\"link\":")
        jsonString((attributes.link ?? "").utf8)
        literal(",\"target\":")
        jsonString(attributes.target.utf8)
        literal("}")
    }

    mutating func weight(_ weight: UInt64, _ quoted: Bool) {
        if quoted { literal("\"") }
        integer(weight)
        if quoted { literal("\"") }
    }

    /// A finite number.
    fileprivate mutating func jsonNumber(_ value: Double) { raw(Array(String(value).utf8)) }
}
