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
    /// Of each frame the number of its file in the session's list of modules, or `noModule`. Empty: not known of any.
    public var modules: [Int32]
    public var weight: UInt64
    /// The stack's key in the stack table. Nil: kiln made the entry (`sendBlocked`), no stack was taken.
    public var key: StackTable.Key?

    public static let noModule: Int32 = -1

    public init(
        process: Int, root: String, work: Work, state: WaitState? = nil, frames: String, modules: [Int32] = [], weight: UInt64, key: StackTable.Key? = nil
    ) {
        self.key = key
        self.modules = modules
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

extension NamedStack {
    /// The time from the first send of replies to their last one, as stacks of no function: the client doesn't read, or the server sends a part in each
    /// turn of its event loop. The server doesn't wait meanwhile, it serves others.
    ///
    /// - Parameter root: Of the target's stacks.
    public static func sendBlocked(_ verdict: Work.Verdict?, of snapshot: Snapshot, process: Int, root: String) -> [NamedStack] {
        snapshot.judged.filter { $0.key.process == process && $0.value[verdict].sendBlocked != .zero }.map { key, calls in
            NamedStack(
                process: process, root: root, work: Work(.command(key.name), .reply, verdict), frames: "[between the sends of a reply]",
                weight: calls[verdict].sendBlocked.count
            )
        }
    }
}
