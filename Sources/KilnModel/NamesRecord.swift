/// The number of frames with a function's name in a session's stacks, and the reasons why others have none.
public struct NamesRecord: Codable, Equatable, Sendable {
    public struct Unnamed: Codable, Equatable, Sendable {
        /// The file or kernel module; absent if it is unknown, too.
        public var module: String?
        public var reason: String
        public var frames: UInt64
    }

    /// Frames of recorded stacks, counted once per sample. Inlined functions are not counted.
    public private(set) var frames: UInt64 = 0
    public private(set) var named: UInt64 = 0
    /// The most frequent first.
    public private(set) var unnamed: [Unnamed] = []

    /// `unnamed`: frames by file and reason.
    public init(named: UInt64, unnamed: [Cause: UInt64]) {
        self.named = named
        frames = named + unnamed.values.reduce(0, +)
        self.unnamed = unnamed.map { Unnamed(module: $0.module, reason: $0.reason, frames: $1) }.sorted {
            ($1.frames, $0.module ?? "", $0.reason) < ($0.frames, $1.module ?? "", $1.reason)
        }
    }

    public struct Cause: Hashable, Sendable {
        public var module: String?
        public var reason: String

        public init(module: String?, reason: String) {
            self.module = module
            self.reason = reason
        }
    }
}
