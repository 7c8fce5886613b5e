import Glibc

/// A growing array of plain values in fixed segments.
///
/// Growing never copies what is there, so a tree of millions of nodes peaks at its own size
/// where a doubling array would, for a moment, need one and a half times as much.
struct SegmentedArray<Element: BitwiseCopyable>: ~Copyable {
    private static var shift: Int { 18 }
    private static var segmentCapacity: Int { 1 << shift }

    private static var largePage: Int { 1 << 21 }

    private var directory: UnsafeMutablePointer<UnsafeMutablePointer<Element>>
    private var directoryCapacity = 64
    private var segmentCount = 0
    private(set) var count = 0

    init() {
        directory = .allocate(capacity: directoryCapacity)
    }

    deinit {
        for index in 0..<segmentCount { directory[index].deallocate() }
        directory.deallocate()
    }

    /// The element's place in memory. It stays valid for the array's lifetime.
    @inline(__always)
    func pointer(_ index: UInt32) -> UnsafeMutablePointer<Element> {
        assert(Int(index) < count)
        let index = Int(index)
        return directory[index >> Self.shift] + (index & (Self.segmentCapacity - 1))
    }

    @inline(__always)
    subscript(index: UInt32) -> Element { pointer(index).pointee }

    /// Appends and returns the new element's index.
    @inline(__always)
    mutating func append(_ element: Element) -> UInt32 {
        let index = count
        if index >> Self.shift == segmentCount { addSegment() }
        (directory[index >> Self.shift] + (index & (Self.segmentCapacity - 1))).initialize(to: element)
        count = index + 1
        return UInt32(truncatingIfNeeded: index)
    }

    /// Moves the other's elements here without copying them, and returns the first one's index. What is left of the last segment
    /// before them is filled.
    mutating func adopt(_ other: inout SegmentedArray, filling filler: Element) -> UInt32 {
        while count & (Self.segmentCapacity - 1) != 0 { _ = append(filler) }
        let first = count
        for index in 0..<other.segmentCount { addSegment(other.directory[index]) }
        count += other.count
        other.segmentCount = 0
        other.count = 0
        return UInt32(truncatingIfNeeded: first)
    }

    /// Walks through a large tree miss the cache in any order. With large pages they don't miss the page tables too. The first segment
    /// has small ones: it may stay nearly empty.
    @inline(never)
    private mutating func addSegment() {
        let bytes = Self.segmentCapacity * MemoryLayout<Element>.stride
        let isFirst = segmentCount == 0
        let memory = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: isFirst ? MemoryLayout<Element>.alignment : Self.largePage)
        if !isFirst { madvise(memory, bytes, MADV_HUGEPAGE) }
        addSegment(memory.bindMemory(to: Element.self, capacity: Self.segmentCapacity))
    }

    private mutating func addSegment(_ segment: UnsafeMutablePointer<Element>) {
        if segmentCount == directoryCapacity {
            let larger = UnsafeMutablePointer<UnsafeMutablePointer<Element>>.allocate(capacity: directoryCapacity * 2)
            larger.moveInitialize(from: directory, count: segmentCount)
            directory.deallocate()
            directory = larger
            directoryCapacity *= 2
        }
        (directory + segmentCount).initialize(to: segment)
        segmentCount += 1
    }
}
