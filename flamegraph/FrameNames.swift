/// Every distinct frame of the input once, found through an open-addressing table.
///
/// The bytes are those of the folded text, suffix included, so `f` and `f_[k]` are two names.
struct FrameNames: ~Copyable {
    private struct Name: BitwiseCopyable {
        var offset: Int
        var length: UInt32
        var shownLength: UInt32
        var kind: FrameKind
    }

    /// A name in the table. A short name is all there, so that one load of a cache line decides; index 0 is an empty slot.
    private struct Slot: BitwiseCopyable {
        var key: FrameKey
        var indexPlusOne: UInt32
    }

    private var arena: UnsafeMutableRawPointer
    private var arenaCapacity = 1 << 16
    private var arenaCount = 0
    private var names = SegmentedArray<Name>()
    private var slots: UnsafeMutablePointer<Slot>
    private var mask = (1 << 12) - 1
    /// Whether any name says its kind.
    private(set) var haveKinds = false

    init() {
        arena = .allocate(byteCount: arenaCapacity, alignment: 8)
        slots = Self.emptySlots(mask + 1)
    }

    deinit {
        arena.deallocate()
        slots.deallocate()
    }

    var count: Int { names.count }

    /// The frame's bytes as the folded text has them.
    func bytes(_ index: UInt32) -> UnsafeRawBufferPointer {
        let name = names[index]
        return UnsafeRawBufferPointer(start: arena + name.offset, count: Int(name.length))
    }

    /// The bytes to show: without the suffix that says the kind.
    func shownBytes(_ index: UInt32) -> UnsafeRawBufferPointer {
        let name = names[index]
        return UnsafeRawBufferPointer(start: arena + name.offset, count: Int(name.shownLength))
    }

    func kind(_ index: UInt32) -> FrameKind { names[index].kind }

    /// Whether no name has anything that is written as an escape.
    var areShownAsRead: Bool {
        var scratch: [UInt8] = []
        return (0..<UInt32(count)).allSatisfy { index in
            scratch.removeAll(keepingCapacity: true)
            return appendDisplayed(bytes(index), to: &scratch)
        }
    }

    /// Bytewise order of two names, the order in which siblings are drawn.
    func isOrderedBefore(_ left: UInt32, _ right: UInt32) -> Bool {
        bytes(left).lexicographicallyPrecedes(bytes(right))
    }

    /// The index of a name, new or known. `key` must be the key of the bytes at `start`.
    @inline(__always)
    mutating func intern(_ start: UnsafeRawPointer, _ key: FrameKey) -> UInt32 {
        var slot = Int(truncatingIfNeeded: key.tableHash) & mask
        while true {
            let entry = slots + slot
            let indexPlusOne = entry.pointee.indexPlusOne
            if indexPlusOne == 0 { return insert(start, key, slot: slot) }
            if entry.pointee.key == key {
                let index = indexPlusOne &- 1
                if key.holdsAllBytes || equalBytes(start, arena + names[index].offset, Int(key.length)) { return index }
            }
            slot = (slot &+ 1) & mask
        }
    }

    /// The index of a name that no text holds. It must contain no semicolon.
    mutating func intern(_ name: [UInt8]) -> UInt32 {
        // Always backed by memory, which an empty array is not.
        (name + [0]).withUnsafeBytes { bytes in
            guard let base = bytes.baseAddress else { return 0 }
            return intern(base, FrameKey.scan(base, limit: name.count, readableEnd: base + bytes.count))
        }
    }

    /// What the other's names are here, by their index there.
    mutating func indices(of other: borrowing FrameNames) -> [UInt32] {
        (0..<UInt32(other.count)).map { index in
            let bytes = other.bytes(index)
            guard let base = bytes.baseAddress else { return intern([]) }
            return intern(base, FrameKey.scan(base, limit: bytes.count, readableEnd: other.arena + other.arenaCount))
        }
    }

    @inline(never)
    private mutating func insert(_ start: UnsafeRawPointer, _ key: FrameKey, slot: Int) -> UInt32 {
        let length = Int(key.length)
        if arenaCount + length > arenaCapacity {
            let capacity = max(arenaCapacity * 2, arenaCount + length)
            let larger = UnsafeMutableRawPointer.allocate(byteCount: capacity, alignment: 8)
            larger.copyMemory(from: arena, byteCount: arenaCount)
            arena.deallocate()
            (arena, arenaCapacity) = (larger, capacity)
        }
        (arena + arenaCount).copyMemory(from: start, byteCount: length)
        let (kind, shown) = FrameKind.classify(UnsafeRawBufferPointer(start: arena + arenaCount, count: length))
        let index = names.append(
            Name(offset: arenaCount, length: key.length, shownLength: UInt32(shown), kind: kind))
        arenaCount += length
        haveKinds = haveKinds || FrameKind.isSaid(kind, hasMark: shown < length)
        slots[slot] = Slot(key: key, indexPlusOne: index &+ 1)
        if names.count * 2 > mask { growTable() }
        return index
    }

    private mutating func growTable() {
        let old = slots
        let oldCount = mask + 1
        mask = oldCount * 4 - 1
        slots = Self.emptySlots(mask + 1)
        for position in 0..<oldCount where old[position].indexPlusOne != 0 {
            var slot = Int(truncatingIfNeeded: old[position].key.tableHash) & mask
            while slots[slot].indexPlusOne != 0 { slot = (slot + 1) & mask }
            slots[slot] = old[position]
        }
        old.deallocate()
    }

    private static func emptySlots(_ count: Int) -> UnsafeMutablePointer<Slot> {
        let slots = UnsafeMutablePointer<Slot>.allocate(capacity: count)
        slots.initialize(repeating: Slot(key: FrameKey(first: 0, second: 0, length: 0), indexPlusOne: 0), count: count)
        return slots
    }
}
