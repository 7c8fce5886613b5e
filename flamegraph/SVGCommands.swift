/// What each command has of the profile, as the script reads it.
extension SVGDocument {
    /// The commands in the order of the choice, each with a part for each phase. A part's `kinds` are the weights that end in frames of each
    /// kind. Its `places` are pairs of a place and a weight. A place is twice the number of a box in `frames`, and one more where the weight
    /// lies above that box in frames that are not drawn; it is written as the difference from the place before.
    mutating func writeCommands(_ stacks: borrowing FoldedStacks) {
        let places = placesOfParts(stacks)
        let isSampled = options.countName == "samples" && !stacks.isMultiplied
        out.literal("\"commands\":{\"sampled\":")
        out.literal(isSampled ? "true" : "false")
        out.literal(",\"list\":[")
        for (index, command) in commandsInOrder(stacks).enumerated() {
            out.literal(index > 0 ? ",\n{\"name\":" : "\n{\"name\":")
            out.jsonString(command.name)
            if let calls = options.callsByCommand[String(decoding: command.name, as: UTF8.self).uppercased()] {
                out.literal(",\"calls\":")
                out.integer(calls)
            }
            out.literal(",\"parts\":[")
            for (index, part) in command.parts.enumerated() {
                out.literal(index > 0 ? ",{\"phase\":" : "{\"phase\":")
                out.jsonString((stacks.commands.parts[part].phase?.rawValue ?? "").utf8)
                out.literal(",\"kinds\":[")
                writeList(weightsByKind(stacks.commands.own[part], stacks).map { (nil, $0) }, stacks)
                out.literal("],\"places\":[")
                writeList(places[part], stacks)
                out.literal("]}")
            }
            out.literal("]}")
        }
        out.literal("]},\n")
    }

    /// Weights, each behind the distance from the place before where it has a place.
    private mutating func writeList(_ list: [(place: Int?, weight: UInt64)], _ stacks: borrowing FoldedStacks) {
        var last = 0
        for (index, (place, weight)) in list.enumerated() {
            if index > 0 { out.literal(",") }
            if let place {
                out.integer(place - last)
                out.literal(",")
                last = place
            }
            out.weight(weight, stacks.total > 1 << 53)
        }
    }

    /// By part, what lies where.
    private func placesOfParts(_ stacks: borrowing FoldedStacks) -> [[(place: Int?, weight: UInt64)]] {
        var boxes = [Int32](repeating: -1, count: stacks.tree.count)
        for (index, box) in layout.boxes.enumerated() { boxes[Int(box.node)] = Int32(index) }
        var result: [[(place: Int?, weight: UInt64)]] = []
        for own in stacks.commands.own {
            var weights: [Int: UInt64] = [:]
            for (end, weight) in own where weight > 0 {
                var node = end
                while boxes[Int(node)] < 0 { node = stacks.tree[node].parent }
                weights[2 * Int(boxes[Int(node)]) + (node == end ? 0 : 1), default: 0] += weight
            }
            result.append(weights.sorted { $0.key < $1.key }.map { ($0.key, $0.value) })
        }
        return result
    }

    /// In the order of `FrameKind.allCases`. A process is no code, so what ends there is of no kind.
    private func weightsByKind(_ own: [UInt32: UInt64], _ stacks: borrowing FoldedStacks) -> [UInt64] {
        var weights = [UInt64](repeating: 0, count: FrameKind.allCases.count)
        for (node, weight) in own where !isProcess(stacks, node) { weights[Int(stacks.names.kind(stacks.tree[node].name).rawValue)] += weight }
        return weights
    }

    /// Commands by their weight, then the other work of the event loop, background threads, and what is unknown.
    private func commandsInOrder(_ stacks: borrowing FoldedStacks) -> [(name: [UInt8], parts: [Int])] {
        var found: [[UInt8]: (weight: UInt64, parts: [Int])] = [:]
        for (index, part) in stacks.commands.parts.enumerated() {
            let weight = stacks.commands.own[index].values.reduce(0, +)
            if weight == 0 { continue }
            found[part.command, default: (0, [])].weight += weight
            found[part.command]?.parts.append(index)
        }
        func rank(_ name: [UInt8]) -> Int {
            if CommandStack.hasPhases(name) { return 0 }
            return name.elementsEqual("[event loop]".utf8) ? 1 : name.elementsEqual("[background]".utf8) ? 2 : 3
        }
        func phase(_ part: Int) -> Int { stacks.commands.parts[part].phase.flatMap(CommandPhase.allCases.firstIndex) ?? CommandPhase.allCases.count }
        return found.sorted { one, other in
            if rank(one.key) != rank(other.key) { return rank(one.key) < rank(other.key) }
            return one.value.weight == other.value.weight ? one.key.lexicographicallyPrecedes(other.key) : one.value.weight > other.value.weight
        }.map { ($0.key, $0.value.parts.sorted { phase($0) < phase($1) }) }
    }
}
