/// The merged stacks: one node for each distinct path from the root, its weight the sum over all stacks through it.
///
/// Nodes are 24 bytes in one array, children are linked through their siblings, last used first; the order in which
/// they are drawn is decided by the layout. A node with many children moves them into a hash table keyed by parent
/// and name. Most nodes of a big profile have one child, and a stack that has left the known tree only appends.
struct FrameTree: ~Copyable {
    struct Node: BitwiseCopyable {
        /// Weight of all stacks that pass through or end here.
        var total: UInt64
        var name: UInt32
        var parent: UInt32
        /// Index of the first linked child, or 0; the root is nobody's child. The top bit says: children are in the table.
        var firstChild: UInt32
        /// Index of the next linked sibling, or 0.
        var nextSibling: UInt32
    }

    static let root: UInt32 = 0
    /// Node indices must leave the top bit of `firstChild` free.
    static let maximumCount = Int(UInt32.max >> 1)

    private static let wideBit: UInt32 = 1 << 31
    /// Children that are looked for one by one before a node counts as wide; 4 measured faster than 8 and 12.
    private static let narrowLimit = 4

    private var nodes = SegmentedArray<Node>()
    private var slots: UnsafeMutablePointer<UInt32>
    private var mask = (1 << 10) - 1
    private var hashedCount = 0

    init() {
        slots = .allocate(capacity: mask + 1)
        slots.initialize(repeating: 0, count: mask + 1)
        _ = nodes.append(Node(total: 0, name: .max, parent: 0, firstChild: 0, nextSibling: 0))
    }

    deinit { slots.deallocate() }

    /// Places of nodes, the root's included. Some may be empty after trees were merged: they weigh nothing and no node is linked to them.
    var count: Int { nodes.count }
    private(set) var emptyCount = 0

    subscript(node: UInt32) -> Node { nodes[node] }

    @inline(__always)
    func firstChild(_ node: UInt32) -> UInt32 { nodes[node].firstChild & ~Self.wideBit }

    @inline(__always)
    func add(_ weight: UInt64, to node: UInt32) {
        // The root's total has been checked for overflow, and no node outweighs the root.
        nodes.pointer(node).pointee.total &+= weight
    }

    /// Multiplies every weight. The caller has checked that the root's total stays within 64 bits.
    func scaleWeights(by factor: UInt64) {
        if factor == 1 { return }
        for node in 0..<UInt32(nodes.count) { nodes.pointer(node).pointee.total &*= factor }
    }

    /// A node's weight, which is 0 afterwards.
    func takeWeight(of node: UInt32) -> UInt64 {
        let place = nodes.pointer(node)
        defer { place.pointee.total = 0 }
        return place.pointee.total
    }

    func divideWeight(of node: UInt32, by divisor: UInt64) { nodes.pointer(node).pointee.total /= divisor }

    /// The child of that name, made when there is none.
    @inline(__always)
    mutating func child(of parent: UInt32, named name: UInt32) -> UInt32 {
        let first = nodes[parent].firstChild
        if first & Self.wideBit != 0 { return hashedChild(of: parent, named: name) }
        var node = first
        var before: UInt32 = 0
        var steps = 0
        while node != 0 {
            let candidate = nodes.pointer(node)
            if candidate.pointee.name == name {
                if before != 0 { moveToFront(node, after: before, of: parent) }
                return node
            }
            before = node
            node = candidate.pointee.nextSibling
            steps &+= 1
        }
        if steps >= Self.narrowLimit {
            widen(parent)
            return hashedChild(of: parent, named: name)
        }
        return append(name, under: parent)
    }

    /// The child made last if it has that name, otherwise a new one.
    mutating func latestChild(of parent: UInt32, named name: UInt32) -> UInt32 {
        let latest = firstChild(parent)
        return latest != 0 && nodes[latest].name == name ? latest : append(name, under: parent)
    }

    /// Hot children are found at the first look: in a big profile every further look is a cache miss.
    private func moveToFront(_ node: UInt32, after before: UInt32, of parent: UInt32) {
        nodes.pointer(before).pointee.nextSibling = nodes[node].nextSibling
        nodes.pointer(node).pointee.nextSibling = nodes[parent].firstChild
        nodes.pointer(parent).pointee.firstChild = node
    }

    /// A new child. The caller knows that there is none of that name.
    @inline(__always)
    mutating func append(_ name: UInt32, under parent: UInt32) -> UInt32 {
        let link = nodes[parent].firstChild
        let node = nodes.append(
            Node(total: 0, name: name, parent: parent, firstChild: 0, nextSibling: link & ~Self.wideBit))
        nodes.pointer(parent).pointee.firstChild = node | (link & Self.wideBit)
        return node
    }

    private mutating func hashedChild(of parent: UInt32, named name: UInt32) -> UInt32 {
        let slot = slot(of: parent, name)
        if slots[slot] != 0 { return slots[slot] }
        let node = append(name, under: parent)
        insert(node)
        return node
    }

    /// Where the child is in the table, or would be.
    private func slot(of parent: UInt32, _ name: UInt32) -> Int {
        var slot = slotIndex(parent, name)
        while slots[slot] != 0 {
            let candidate = nodes.pointer(slots[slot])
            if candidate.pointee.name == name, candidate.pointee.parent == parent { break }
            slot = (slot + 1) & mask
        }
        return slot
    }

    /// Takes over the other tree's nodes, without copying those whose stacks are new here. `names` says what its names are here.
    mutating func merge(_ other: inout FrameTree, names: [UInt32]) {
        let nobody = Node(total: 0, name: .max, parent: 0, firstChild: 0, nextSibling: 0)
        let (before, added) = (nodes.count, other.nodes.count)
        let first = nodes.adopt(&other.nodes, filling: nobody)
        emptyCount += Int(first) - before + other.emptyCount
        for node in first..<first + UInt32(added) {
            let place = nodes.pointer(node)
            if place.pointee.name != .max { place.pointee.name = names[Int(place.pointee.name)] }
            place.pointee.parent += first
            // Their tables of children stay behind; they are made again should anybody look for a child.
            let child = place.pointee.firstChild & ~Self.wideBit
            place.pointee.firstChild = child == 0 ? 0 : child + first
            if place.pointee.nextSibling != 0 { place.pointee.nextSibling += first }
        }
        // A node there, and the same one here.
        var open: [(there: UInt32, here: UInt32)] = [(first, Self.root)]
        while let (there, here) = open.popLast() {
            let twin = nodes[there]
            nodes.pointer(there).pointee = nobody
            emptyCount += 1
            add(twin.total, to: here)
            var child = twin.firstChild
            while child != 0 {
                let next = nodes[child].nextSibling
                let known = existingChild(of: here, named: nodes[child].name)
                if known != 0 { open.append((child, known)) } else { link(child, under: here) }
                child = next
            }
        }
    }

    /// The child of that name, or 0.
    private mutating func existingChild(of parent: UInt32, named name: UInt32) -> UInt32 {
        let first = nodes[parent].firstChild
        if first & Self.wideBit != 0 { return slots[slot(of: parent, name)] }
        var node = first
        var steps = 0
        while node != 0, nodes[node].name != name {
            node = nodes[node].nextSibling
            steps += 1
        }
        if node == 0, steps >= Self.narrowLimit { widen(parent) }
        return node
    }

    /// Makes a node that is nobody's child the child of this one.
    private mutating func link(_ node: UInt32, under parent: UInt32) {
        let link = nodes[parent].firstChild
        nodes.pointer(node).pointee.parent = parent
        nodes.pointer(node).pointee.nextSibling = link & ~Self.wideBit
        nodes.pointer(parent).pointee.firstChild = node | (link & Self.wideBit)
        if link & Self.wideBit != 0 { insert(node) }
    }

    private mutating func widen(_ parent: UInt32) {
        var node = nodes[parent].firstChild
        nodes.pointer(parent).pointee.firstChild |= Self.wideBit
        while node != 0 {
            insert(node)
            node = nodes[node].nextSibling
        }
    }

    private mutating func insert(_ node: UInt32) {
        if (hashedCount + 1) * 2 > mask { growTable() }
        place(node)
        hashedCount += 1
    }

    private func place(_ node: UInt32) {
        var slot = slotIndex(nodes[node].parent, nodes[node].name)
        while slots[slot] != 0 { slot = (slot + 1) & mask }
        slots[slot] = node
    }

    private mutating func growTable() {
        let old = slots
        let oldMask = mask
        mask = (mask + 1) * 2 - 1
        slots = .allocate(capacity: mask + 1)
        slots.initialize(repeating: 0, count: mask + 1)
        for slot in 0...oldMask where old[slot] != 0 { place(old[slot]) }
        old.deallocate()
    }

    @inline(__always)
    private func slotIndex(_ parent: UInt32, _ name: UInt32) -> Int {
        let key = (UInt64(parent) << 32 | UInt64(name)) &* 0x9e37_79b9_7f4a_7c15
        return Int(truncatingIfNeeded: key >> 32) & mask
    }
}
