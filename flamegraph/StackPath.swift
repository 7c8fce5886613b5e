/// The frames of the stack read last.
struct StackPath: ~Copyable {
    struct Frame: BitwiseCopyable {
        /// Where the frame ends, in bytes from the stack's beginning.
        var end: Int
        var node: UInt32
    }

    private(set) var frames: UnsafeMutablePointer<Frame>
    private var capacity = 256
    var count = 0

    init() { frames = .allocate(capacity: capacity) }

    deinit { frames.deallocate() }

    @inline(never)
    private mutating func grow() {
        let larger = UnsafeMutablePointer<Frame>.allocate(capacity: capacity * 2)
        larger.moveInitialize(from: frames, count: count)
        frames.deallocate()
        (frames, capacity) = (larger, capacity * 2)
    }

    @inline(__always)
    mutating func push(_ frame: Frame) {
        if count == capacity { grow() }
        (frames + count).initialize(to: frame)
        count &+= 1
    }
}
