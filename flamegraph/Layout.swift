/// Where every box lies, in weight units across and rows up. Knows nothing of pixels or colours.
///
/// Children lie within their parent, from its left edge, in bytewise order of their names (in a flame
/// chart, of their lines). Children narrower than
/// the minimum are not laid out; their place is at the right, before the parent's own weight, which no child covers.
struct Layout {
    struct Box: Equatable {
        /// The row: 0 is the root, which stands for all stacks.
        var depth: Int
        /// The node in the tree that was laid out.
        var node: UInt32
        /// Weight units from the root's left edge.
        var start: UInt64
        var total: UInt64
        /// Weight of the stacks that end in this frame.
        var own: UInt64
        /// What of `total` and of `own` the first of two profiles has; 0 for one profile.
        var before: UInt64 = 0
        var ownBefore: UInt64 = 0
    }

    /// Every drawn box, parents before their children, from left to right.
    private(set) var boxes: [Box] = []
    /// Rows, the root's included.
    private(set) var rows = 0
    /// Frames that are not drawn because they are narrower than the minimum.
    private(set) var hiddenFrames = 0
    /// Weight of the stacks that pass through a frame that is not drawn.
    private(set) var hiddenWeight: UInt64 = 0

    /// Lays out the stacks. Boxes narrower than `minimumShare` of the total, 0 to 1, are hidden, as is what weighs nothing.
    init(_ stacks: borrowing FoldedStacks, minimumShare: Double) {
        let total = stacks.total
        let minimum = max(1, (Double(total) * minimumShare).rounded(.up))
        let minimumWeight = minimum < 0x1p64 ? UInt64(minimum) : .max
        let all = stacks.weightBefore(FrameTree.root)
        var open = [Box(depth: 0, node: FrameTree.root, start: 0, total: total, own: total, before: all, ownBefore: all)]
        var children: [UInt32] = []
        while var box = open.popLast() {
            children.removeAll(keepingCapacity: true)
            var child = stacks.tree.firstChild(box.node)
            while child != 0 {
                let node = stacks.tree[child]
                box.own -= node.total
                box.ownBefore -= stacks.weightBefore(child)
                if node.total >= minimumWeight {
                    children.append(child)
                } else {
                    hiddenWeight += node.total
                }
                child = node.nextSibling
            }
            if stacks.reading.keepsOrder {
                children.reverse()  // they are linked latest first
            } else {
                children.sort { stacks.names.isOrderedBefore(stacks.tree[$0].name, stacks.tree[$1].name) }
            }
            boxes.append(box)
            rows = max(rows, box.depth + 1)
            var end = children.reduce(box.start) { $0 + stacks.tree[$1].total }
            // The leftmost child must be on top of the stack of open boxes.
            for child in children.reversed() {
                let weight = stacks.tree[child].total
                end -= weight
                let old = stacks.weightBefore(child)
                open.append(
                    Box(
                        depth: box.depth + 1, node: child, start: end, total: weight, own: weight, before: old,
                        ownBefore: old))
            }
        }
        hiddenFrames = stacks.frameCount + 1 - boxes.count
    }
}
