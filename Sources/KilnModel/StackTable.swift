/// The frames of one stack as addresses, innermost first.
public struct StackFrames: Equatable, Sendable {
    public var kernel: [UInt64]
    public var user: [UInt64]
    /// Indices in `user` of instructions that a signal interrupted; the others behind the first are return addresses.
    public var interrupted: [Int]
    /// Why `user` goes no further.
    public var end: StackEnd
    /// The name of its thread; nil unless it was asked for.
    public var thread: String?

    public init(kernel: [UInt64], user: [UInt64], interrupted: [Int], end: StackEnd, thread: String? = nil) {
        self.kernel = kernel
        self.user = user
        self.interrupted = interrupted
        self.end = end
        self.thread = thread
    }
}

/// Samples by stack.
public struct StackTable: Sendable {
    public struct Key: Hashable, Sendable {
        /// Of all frames, made by the kernel's side.
        public var hash: UInt64
        /// Index of the process among the session's targets.
        public var process: Int

        public init(hash: UInt64, process: Int) {
            self.hash = hash
            self.process = process
        }
    }

    public private(set) var frames: [Key: StackFrames] = [:]
    public var counts: [Key: UInt64] = [:]

    public init() {}

    public mutating func learn(_ key: Key, _ stack: StackFrames) { frames[key] = stack }

    /// The stacks of a process with their samples, in a fixed order.
    public func stacks(ofProcess process: Int) -> [(frames: StackFrames, samples: UInt64)] {
        counts.keys.filter { $0.process == process }.sorted { $0.hash < $1.hash }.compactMap { key in
            frames[key].map { ($0, counts[key] ?? 0) }
        }
    }
}
