/// A growing array of plain values in fixed segments.
///
/// Growing never copies what is there, so a tree of millions of nodes peaks at its own size
/// where a doubling array would, for a moment, need one and a half times as much.
struct SegmentedArray<Element: BitwiseCopyable>: ~Copyable {
    private static var shift: Int { 16 }
    private static var segmentCapacity: Int { 1 << shift }

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

    @inline(never)
    private mutating func addSegment() {
        if segmentCount == directoryCapacity {
            let larger = UnsafeMutablePointer<UnsafeMutablePointer<Element>>.allocate(capacity: directoryCapacity * 2)
            larger.moveInitialize(from: directory, count: segmentCount)
            directory.deallocate()
            directory = larger
            directoryCapacity *= 2
        }
        (directory + segmentCount).initialize(to: .allocate(capacity: Self.segmentCapacity))
        segmentCount += 1
    }
}
