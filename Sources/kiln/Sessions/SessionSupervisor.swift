/// What runs sessions one after the other, and is asked by the present one in each turn of its loop, several times a second.
protocol SessionSupervisor: AnyObject {
    /// The session calls this in each turn of its loop. Returns why the session is to end now, or nil if it goes on.
    func takeTurn() -> SessionEnding?
    /// Begins pulls. Returns whether sinks are to get a checkpoint with the stacks so far.
    func beginPulls() throws -> Bool
    /// Whether its stacks are to be named when it has ended, which takes time in which nothing is watched.
    var wantsStacksAtEnd: Bool { get }
    /// Nothing happens: the session may wake more seldom and count in longer intervals.
    var isIdle: Bool { get }
    /// SIGHUP.
    func hangup()
}
