/// What runs sessions one after the other, and is asked by the present one in each turn of its loop, several times a second.
protocol SessionSupervisor: AnyObject {
    /// Why the session is to end now; nil: it goes on.
    var ending: SessionEnding? { get }
    /// Whether sinks are to get a checkpoint with the stacks so far.
    var wantsStacks: Bool { get throws }
    /// Whether its stacks are to be named when it has ended, which takes time in which nothing is watched.
    var wantsStacksAtEnd: Bool { get }
    /// Nothing happens: the session may wake more seldom and count in longer intervals.
    var isIdle: Bool { get }
    /// SIGHUP.
    func hangup()
}
