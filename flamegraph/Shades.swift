/// Which shade of its colours each name has: frames that touch are told apart, and a name has one shade wherever it is drawn.
struct Shades {
    static let count = 4

    /// By the name's index; `none` where the name alone decides.
    private var byName: [UInt8] = []
    private static let none: UInt8 = .max

    /// The shade that a name has where no neighbour has it.
    static func preferred(for name: UnsafeRawBufferPointer, _ seed: UInt64) -> Int {
        Int(((ByteHash.hash(name) ^ seed) &* 0x9e37_79b9_7f4a_7c15) >> 62)
    }

    /// Nothing but names decides: a function has its shade in every picture.
    init() {}

    init(_ stacks: borrowing FoldedStacks, _ layout: Layout, _ options: FlamegraphOptions) {
        byName = [UInt8](repeating: Self.none, count: stacks.names.count)
        var weights = [UInt64](repeating: 0, count: stacks.names.count)
        let pairs = Self.neighbours(stacks, layout, &weights)
        var families: [ColorFamily: Int32] = [:]
        var familyOf = [Int32](repeating: -1, count: weights.count)
        for name in weights.indices where weights[name] > 0 {
            let family = options.palette.family(kind: stacks.names.kind(UInt32(name)), name: stacks.names.shownBytes(UInt32(name)))
            familyOf[name] = families[family] ?? Int32(families.count)
            families[family] = familyOf[name]
        }
        // The neighbours of a name, one after the other.
        var ends = [Int](repeating: 0, count: weights.count + 1)
        let alike = pairs.filter { familyOf[Int($0 >> 32)] == familyOf[Int($0 & 0xffff_ffff)] }
        for pair in alike {
            ends[Int(pair >> 32) + 1] += 1
            ends[Int(pair & 0xffff_ffff) + 1] += 1
        }
        for name in weights.indices { ends[name + 1] += ends[name] }
        var neighbours = [UInt32](repeating: 0, count: ends.last ?? 0)
        var filled = ends
        for pair in alike {
            let (one, other) = (Int(pair >> 32), Int(pair & 0xffff_ffff))
            neighbours[filled[one]] = UInt32(other)
            neighbours[filled[other]] = UInt32(one)
            filled[one] += 1
            filled[other] += 1
        }
        // Where two can't have what they would, the wider frame does.
        let names = weights.indices.filter { weights[$0] > 0 }.sorted { one, other in
            weights[one] == weights[other] ? stacks.names.isOrderedBefore(UInt32(one), UInt32(other)) : weights[one] > weights[other]
        }
        // Several times, because names that came first could not know what came later.
        for _ in 0..<4 {
            for name in names {
                var taken: InlineArray<4, Int> = [0, 0, 0, 0]
                for neighbour in neighbours[ends[name]..<ends[name + 1]] where byName[Int(neighbour)] != Self.none {
                    taken[Int(byName[Int(neighbour)])] += 1
                }
                var best = Self.preferred(for: stacks.names.shownBytes(UInt32(name)), options.seed)
                let first = best
                for step in 1..<Self.count where taken[(first + step) % Self.count] < taken[best] { best = (first + step) % Self.count }
                byName[name] = UInt8(best)
            }
        }
    }

    func shade(of name: UInt32, _ stacks: borrowing FoldedStacks, _ options: FlamegraphOptions) -> Int {
        let shade = byName.isEmpty ? Self.none : byName[Int(name)]
        return shade == Self.none ? Self.preferred(for: stacks.names.shownBytes(name), options.seed) : Int(shade)
    }

    /// Pairs of names whose boxes touch at a side, or lie on each other, each once, the lower index in the upper half; and how wide each
    /// name is at its widest.
    private static func neighbours(_ stacks: borrowing FoldedStacks, _ layout: Layout, _ weights: inout [UInt64]) -> [UInt64] {
        var pairs: [UInt64] = []
        // Where the last box of each row ends, and its name; all boxes below the one at hand are its ancestors.
        var rows: [(end: UInt64, name: UInt32)] = []
        func add(_ name: UInt32, _ neighbour: UInt32) {
            if neighbour != .max, neighbour != name { pairs.append(UInt64(min(name, neighbour)) << 32 | UInt64(max(name, neighbour))) }
        }
        for box in layout.boxes.dropFirst() {
            let name = stacks.tree[box.node].name
            weights[Int(name)] = max(weights[Int(name)], box.total)
            while rows.count <= box.depth { rows.append((.max, .max)) }
            if rows[box.depth].end == box.start { add(name, rows[box.depth].name) }
            add(name, rows[box.depth - 1].name)
            rows[box.depth] = (box.start + box.total, name)
        }
        pairs.sort()
        var last: UInt64?
        return pairs.filter { pair in
            defer { last = pair }
            return pair != last
        }
    }
}
