import KilnBPF

/// A latency histogram with 16 equal slots in every power of two from 1 ns to 2^36 ns, and an overflow slot for longer latencies. The slot
/// arithmetic is that of the kernel side (`kiln_histogram.h`). A percentile lies within 1/32 of the true value.
public struct Histogram: Equatable, Sendable {
    /// The number of slots without the overflow slot.
    public static let slotCount = Int(KILN_HISTOGRAM_SLOTS)
    /// Latencies of at least this length fall into the overflow slot.
    public static let limit = Nanoseconds(1 << 36)

    public private(set) var count: UInt64 = 0
    public private(set) var sum = Nanoseconds.zero
    public private(set) var maximum = Maximum.none
    /// `slotCount` slots and the overflow slot; empty until something is counted.
    public private(set) var slots: [UInt64] = []

    /// What is known of the largest latency.
    public enum Maximum: Equatable, Sendable {
        case none
        /// The largest latency itself, known for a whole session.
        case exact(Nanoseconds)
        /// An upper bound: the upper edge of the highest slot that grew in an interval.
        case atMost(Nanoseconds)
        /// Beyond the range of the histogram.
        case beyond(Nanoseconds)
    }

    public init() {}

    /// `slots`: `slotCount` slots and the overflow slot.
    init(slots: [UInt64], sum: Nanoseconds, maximum: Maximum) {
        self.slots = slots
        self.sum = sum
        self.maximum = maximum
        count = slots.reduce(0, &+)
    }

    /// Adds one CPU's counts. `copied`: `slotCount` slots and the overflow slot.
    public mutating func add(slots copied: UnsafePointer<UInt64>, sum copiedSum: kiln_latency_sum) {
        var filled = false
        for slot in 0...Self.slotCount where copied[slot] != 0 {
            if slots.isEmpty { slots = [UInt64](repeating: 0, count: Self.slotCount + 1) }
            slots[slot] &+= copied[slot]
            count &+= copied[slot]
            filled = true
        }
        guard filled else { return }
        sum = sum + Nanoseconds(copiedSum.sum_ns)
        let largest = Nanoseconds(copiedSum.max_ns)
        if case .exact(let known) = maximum { maximum = .exact(max(known, largest)) } else { maximum = .exact(largest) }
    }

    /// Adds the counts of another histogram.
    public mutating func add(_ other: Histogram) {
        guard !other.slots.isEmpty else { return }
        if slots.isEmpty { slots = [UInt64](repeating: 0, count: Self.slotCount + 1) }
        count &+= other.count
        sum = sum + other.sum
        if case .exact(let known) = maximum, case .exact(let added) = other.maximum {
            maximum = .exact(max(known, added))
        } else if case .none = maximum {
            maximum = other.maximum
        } else {
            maximum = highestSlotEdge
        }
        for slot in slots.indices { slots[slot] &+= other.slots[slot] }
    }

    /// Counts one latency, like the kernel side.
    public mutating func record(_ latency: Nanoseconds, times: UInt64 = 1) {
        if slots.isEmpty { slots = [UInt64](repeating: 0, count: Self.slotCount + 1) }
        count += times
        sum = sum + Nanoseconds(latency.count &* times)
        if case .exact(let known) = maximum { maximum = .exact(max(known, latency)) } else { maximum = .exact(latency) }
        slots[Self.slot(of: latency)] += times
    }

    /// The counts since `earlier`. The maximum of the difference is known only by its slot.
    public func since(_ earlier: Histogram) -> Histogram {
        guard earlier.count != 0 else {
            var same = self
            same.maximum = highestSlotEdge
            return same
        }
        var difference = Histogram()
        difference.count = count &- earlier.count
        guard difference.count != 0 else { return difference }
        difference.sum = sum - earlier.sum
        difference.slots = zip(slots, earlier.slots).map { $0 &- $1 }
        difference.maximum = difference.highestSlotEdge
        return difference
    }

    private var highestSlotEdge: Maximum {
        guard let highest = slots.lastIndex(where: { $0 != 0 }) else { return .none }
        return highest == Self.slotCount ? .beyond(Self.limit) : .atMost(Self.range(ofSlot: highest).upper)
    }

    /// The latency that a share (0...1) of all latencies doesn't exceed, as the midpoint of its slot, within 1/32 of the true value. Nil if
    /// nothing was counted; the histogram's limit if it lies beyond.
    public func percentile(_ share: Double) -> Nanoseconds? {
        // Not `count`: the kernel counts during a snapshot, so the two may differ.
        let total = slots.reduce(0, &+)
        guard total != 0 else { return nil }
        let rank = min(total, max(1, UInt64((share * Double(total)).rounded(.up))))
        var reached: UInt64 = 0
        for (slot, counted) in slots.enumerated() where counted != 0 {
            reached &+= counted
            guard reached >= rank else { continue }
            if slot == Self.slotCount { return Self.limit }
            let (lower, upper) = Self.range(ofSlot: slot)
            let middle = Nanoseconds(lower.count + (upper.count - lower.count) / 2)
            if case .exact(let largest) = maximum { return min(middle, largest) }
            return middle
        }
        return nil
    }

    /// The slot that counts a latency. The overflow slot, which counts latencies beyond the histogram's reach, is `slotCount`.
    public static func slot(of latency: Nanoseconds) -> Int { Int(kiln_histogram_slot(latency.count)) }

    /// The lower edge (included) and the upper edge (excluded) of a slot. The range of the overflow slot is empty, at the limit.
    public static func range(ofSlot slot: Int) -> (lower: Nanoseconds, upper: Nanoseconds) {
        let lower = kiln_histogram_slot_lower(UInt32(slot))
        let upper = slot < slotCount ? kiln_histogram_slot_lower(UInt32(slot) + 1) : lower
        return (Nanoseconds(lower), Nanoseconds(upper))
    }

    /// The slots that are not empty, lowest first.
    public var filled: [(lower: Nanoseconds, upper: Nanoseconds, count: UInt64)] {
        slots.indices.lazy.filter { slots[$0] != 0 }.map {
            let (lower, upper) = Self.range(ofSlot: $0)
            return (lower, upper, slots[$0])
        }
    }

    /// Counts by power of two from the lowest to the highest that is not empty: `lower` ..< 2 * `lower`. The first range starts at 0.
    public var octaves: [(lower: Nanoseconds, count: UInt64)] {
        var counts: [Int: UInt64] = [:]
        for (lower, _, counted) in filled {
            counts[lower.count == 0 ? 0 : UInt64.bitWidth - 1 - lower.count.leadingZeroBitCount, default: 0] &+= counted
        }
        guard let first = counts.keys.min(), let last = counts.keys.max() else { return [] }
        return (first...last).map { (Nanoseconds($0 == 0 ? 0 : 1 << UInt64($0)), counts[$0] ?? 0) }
    }
}
