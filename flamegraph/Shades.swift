/// Which shade of its colours each name has: frames that touch are told apart, and a name has one shade wherever it is drawn.
struct Shades {
    static let count = 4

    private var byName: [UInt32: UInt8] = [:]

    /// The shade that a name has where no neighbour has it.
    static func preferred(for name: UnsafeRawBufferPointer, _ seed: UInt64) -> Int {
        Int(((ByteHash.hash(name) ^ seed) &* 0x9e37_79b9_7f4a_7c15) >> 62)
    }

    /// Nothing but names decides: a function has its shade in every picture.
    init() {}

    init(_ stacks: borrowing FoldedStacks, _ layout: Layout, _ options: FlamegraphOptions) {
        var weights: [UInt32: UInt64] = [:]
        let pairs = Self.neighbours(stacks, layout, &weights)
        // Where two can't have what they would, the wider frame does.
        let names = weights.keys.sorted {
            let (one, other) = (weights[$0] ?? 0, weights[$1] ?? 0)
            return one == other ? stacks.names.isOrderedBefore($0, $1) : one > other
        }
        var neighbours: [UInt32: [UInt32]] = [:]
        let family = { (stacks: borrowing FoldedStacks, name: UInt32) in
            options.palette.family(kind: stacks.names.kind(name), name: stacks.names.shownBytes(name))
        }
        let families = Dictionary(uniqueKeysWithValues: names.map { ($0, family(stacks, $0)) })
        for pair in pairs where families[pair.0] == families[pair.1] {
            neighbours[pair.0, default: []].append(pair.1)
            neighbours[pair.1, default: []].append(pair.0)
        }
        // Several times, because names that came first could not know what came later.
        for _ in 0..<4 {
            for name in names {
                var taken = [Int](repeating: 0, count: Self.count)
                for neighbour in neighbours[name] ?? [] {
                    if let shade = byName[neighbour] { taken[Int(shade)] += 1 }
                }
                let first = Self.preferred(for: stacks.names.shownBytes(name), options.seed)
                let order = (0..<Self.count).map { (first + $0) % Self.count }
                byName[name] = order.min { taken[$0] < taken[$1] }.map(UInt8.init)
            }
        }
    }

    func shade(of name: UInt32, _ stacks: borrowing FoldedStacks, _ options: FlamegraphOptions) -> Int {
        byName[name].map(Int.init) ?? Self.preferred(for: stacks.names.shownBytes(name), options.seed)
    }

    /// Pairs of names whose boxes touch at a side, or lie on each other, each once; and how wide each name is at its widest.
    private static func neighbours(
        _ stacks: borrowing FoldedStacks, _ layout: Layout, _ weights: inout [UInt32: UInt64]
    ) -> [(UInt32, UInt32)] {
        var pairs: [UInt64] = []
        // Where the last box of each row ends, and its name; all boxes below the one at hand are its ancestors.
        var rows: [(end: UInt64, name: UInt32)] = []
        for box in layout.boxes.dropFirst() {
            let name = stacks.tree[box.node].name
            weights[name] = max(weights[name] ?? 0, box.total)
            while rows.count <= box.depth { rows.append((.max, .max)) }
            let left = rows[box.depth].end == box.start ? rows[box.depth].name : .max
            for neighbour in [left, rows[box.depth - 1].name] where neighbour != .max && neighbour != name {
                pairs.append(UInt64(min(name, neighbour)) << 32 | UInt64(max(name, neighbour)))
            }
            rows[box.depth] = (box.start + box.total, name)
        }
        pairs.sort()
        var last: UInt64?
        return pairs.compactMap { pair in
            defer { last = pair }
            return pair == last ? nil : (UInt32(pair >> 32), UInt32(truncatingIfNeeded: pair))
        }
    }
}
