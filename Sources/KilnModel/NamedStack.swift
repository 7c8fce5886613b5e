/// A stack whose frames have names. All texts are those of folded stacks, safe in their syntax.
public struct NamedStack: Equatable, Sendable {
    /// `SampledProcess.number`.
    public var process: Int
    /// The process, and the thread if it is known.
    public var root: String
    public var work: Work
    /// Of off-CPU stacks.
    public var state: WaitState?
    /// The outermost first, with `;` between them.
    public var frames: String
    public var weight: UInt64

    public init(process: Int, root: String, work: Work, state: WaitState? = nil, frames: String, weight: UInt64) {
        self.process = process
        self.root = root
        self.work = work
        self.state = state
        self.frames = frames
        self.weight = weight
    }

    /// The innermost frame.
    public var innermost: String { frames.lastIndex(of: ";").map { String(frames[frames.index(after: $0)...]) } ?? frames }
}
