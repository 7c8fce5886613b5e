/// Lines of stacks that have been seen, and the frames each stands for: a profile repeats few lines very often.
///
/// A line is given in two parts, so that what stands between them may differ from line to line.
struct FrameLines: ~Copyable {
    /// Who says what a line stands for.
    enum Origin: UInt8, BitwiseCopyable {
        /// perf, of code in user space; of a function that it found inlined; of the kernel.
        case perf, inlinedByPerf, kernel
        case debugInformation
    }

    struct Frames: BitwiseCopyable {
        /// The only frame of nearly every line.
        var first: UInt32
        var start: UInt32
        var count: UInt32
        var origin: Origin
    }

    private struct Slot: BitwiseCopyable {
        var hash: UInt64
        var offset: Int
        var headLength: Int
        /// Of the whole, plus one; 0 is an empty slot.
        var lengthPlusOne: Int
        var frames: Frames
    }

    private var slots: UnsafeMutablePointer<Slot>
    private var mask = (1 << 12) - 1
    private var count = 0
    private var text: [UInt8] = []
    private var all: [UInt32] = []

    init() { slots = Self.emptySlots(mask + 1) }

    deinit { slots.deallocate() }

    @inline(__always)
    func find(_ head: UnsafeRawBufferPointer, _ tail: UnsafeRawBufferPointer, _ hash: UInt64) -> Frames? {
        var slot = Int(truncatingIfNeeded: hash) & mask
        while true {
            let entry = slots + slot
            if entry.pointee.lengthPlusOne == 0 { return nil }
            if entry.pointee.hash == hash, entry.pointee.headLength == head.count,
                entry.pointee.lengthPlusOne == head.count &+ tail.count &+ 1,
                isText(head, at: entry.pointee.offset), isText(tail, at: entry.pointee.offset &+ head.count)
            {
                return entry.pointee.frames
            }
            slot = (slot &+ 1) & mask
        }
    }

    @inline(__always)
    private func isText(_ part: UnsafeRawBufferPointer, at offset: Int) -> Bool {
        text.withUnsafeBytes { bytes in
            guard let base = bytes.baseAddress, let start = part.baseAddress else { return part.isEmpty }
            return equalBytes(start, base + offset, part.count)
        }
    }

    func frames(_ frames: Frames) -> ArraySlice<UInt32> { all[Int(frames.start)..<Int(frames.start + frames.count)] }

    @discardableResult
    mutating func insert(
        _ head: UnsafeRawBufferPointer, _ tail: UnsafeRawBufferPointer, _ hash: UInt64, _ frames: [UInt32], _ origin: Origin
    ) -> Frames {
        if (count + 1) * 2 > mask { growTable() }
        count += 1
        let place = Frames(first: frames.first ?? 0, start: UInt32(all.count), count: UInt32(frames.count), origin: origin)
        fill(
            Slot(
                hash: hash, offset: text.count, headLength: head.count, lengthPlusOne: head.count + tail.count + 1,
                frames: place))
        text.append(contentsOf: head)
        text.append(contentsOf: tail)
        all.append(contentsOf: frames)
        return place
    }

    private mutating func growTable() {
        let old = slots
        let oldCount = mask + 1
        mask = oldCount * 2 - 1
        slots = Self.emptySlots(mask + 1)
        for slot in 0..<oldCount where old[slot].lengthPlusOne != 0 { fill(old[slot]) }
        old.deallocate()
    }

    private func fill(_ entry: Slot) {
        var slot = Int(truncatingIfNeeded: entry.hash) & mask
        while slots[slot].lengthPlusOne != 0 { slot = (slot + 1) & mask }
        slots[slot] = entry
    }

    private static func emptySlots(_ count: Int) -> UnsafeMutablePointer<Slot> {
        let slots = UnsafeMutablePointer<Slot>.allocate(capacity: count)
        let nothing = Frames(first: 0, start: 0, count: 0, origin: .perf)
        slots.initialize(
            repeating: Slot(hash: 0, offset: 0, headLength: 0, lengthPlusOne: 0, frames: nothing), count: count)
        return slots
    }
}
