import Testing
@testable import Flamegraph

/// Frames that touch have two shades, wherever that is possible.
@Suite struct ShadesTests {
    /// How many pairs of boxes touch, of one family and of different names, and how many of them have one shade.
    private func touching(_ input: [UInt8], _ options: FlamegraphOptions = FlamegraphOptions()) -> (pairs: Int, alike: Int) {
        let stacks = FoldedStacks(parsing: input)
        let layout = Layout(stacks, minimumShare: 0)
        let document = SVGDocument(stacks, options, layout)
        var (pairs, alike) = (0, 0)
        for one in layout.boxes.dropFirst() {
            for other in layout.boxes.dropFirst() {
                let besides = one.depth == other.depth && one.start + one.total == other.start
                let above = one.depth == other.depth + 1 && one.start >= other.start && one.start < other.start + other.total
                let (name, next) = (stacks.tree[one.node].name, stacks.tree[other.node].name)
                guard besides || above, name != next, stacks.names.kind(name) == stacks.names.kind(next) else { continue }
                pairs += 1
                if document.paint(stacks, one.node) == document.paint(stacks, other.node) { alike += 1 }
            }
        }
        return (pairs, alike)
    }

    @Test(arguments: [Palette.kind, .hot, .mem, .aqua])
    func framesThatTouchAreToldApart(palette: Palette) {
        var options = FlamegraphOptions()
        options.palette = palette
        let lines = (0..<300).map { "main;a\($0 % 7);b\($0 % 63);c\($0 % 126)_[k];d\($0)_[k] 1\n" }.joined()
        let found = touching(Array(lines.utf8), options)
        #expect(found.pairs > 500)
        #expect(found.alike == 0)
        var byName = options
        byName.shadesByName = true
        #expect(touching(Array(lines.utf8), byName).alike > 30)
    }

    @Test(arguments: 1...5 as ClosedRange<UInt64>)
    func ofRandomStacksNearlyAllAre(seed: UInt64) {
        // Sixty names that all touch each other can't all be told apart by four shades.
        let input = randomFolded(seed: seed, lines: 40), found = touching(input)
        var byName = FlamegraphOptions()
        byName.shadesByName = true
        let chance = touching(input, byName)
        #expect(found.alike * 2 < chance.alike && found.pairs == chance.pairs, "\(found), by names alone \(chance)")
    }

    @Test func aSeedGivesOtherShades() throws {
        let input = randomFolded(seed: 1, lines: 50)
        var options = FlamegraphOptions()
        let first = try drawn(FoldedStacks(parsing: input), options)
        options.seed = 7
        let (second, again) = try (drawn(FoldedStacks(parsing: input), options), drawn(FoldedStacks(parsing: input), options))
        #expect(first != second && second == again)
    }

    @Test func aNameHasOneShadeWhereverItIsDrawn() throws {
        let stacks = folded("a;b;c 1\na;c;b 1\nb;a 1\nc;x;b 1\n")
        let layout = Layout(stacks, minimumShare: 0)
        let document = SVGDocument(stacks, FlamegraphOptions(), layout)
        var paints: [UInt32: Set<Paint>] = [:]
        for box in layout.boxes.dropFirst() { paints[stacks.tree[box.node].name, default: []].insert(document.paint(stacks, box.node)) }
        #expect(paints.values.allSatisfy { $0.count == 1 })
    }
}
