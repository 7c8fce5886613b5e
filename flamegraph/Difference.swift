/// How two profiles are compared in a picture.
public struct DifferenceOptions: Sendable, Equatable {
    /// Weight of one sample, which decides what is noise: 1 for counts of samples. Nil where nobody knows: then no difference is coloured.
    public var sampleWeight: Double? = 1
    /// Swaps red and blue, for pictures in which more is better.
    public var isNegated = false

    /// As the stacks have it.
    var beforeScale = 1.0

    public init() {}

    /// What the colours and signs mean, each with the class of its swatch, if it has one.
    var legend: [(className: String?, text: String)] {
        let (more, less) = isNegated ? ("b3", "r3") : ("r3", "b3")
        return [(more, "▲ more"), (less, "▼ less"), ("n0", "same, or within noise"), (nil, "✚ new  ✕ gone")]
    }
}

/// How much a frame weighs in two profiles, and what may be said about it.
///
/// The viewer's script judges in the same way (`judged` in model.js).
struct Change {
    enum Direction { case same, grew, shrank, new, gone }

    var direction: Direction
    /// 0 for a difference that sampling alone may have made; otherwise 1 to 4, by its share of the larger weight.
    var level: Int

    /// Counts of samples scatter around their expectation with the square root of the expectation as deviation; two of
    /// those deviations (1 of 20 frames that are the same differ by more) are taken for noise. No samples are compatible with an expectation of one, so
    /// a count scatters by one sample at least, which in the first profile weighs as much as the scale says.
    init(before: UInt64, after: UInt64, decimals: Int, _ options: DifferenceOptions) {
        let unit = (options.sampleWeight ?? 1) * Double(powerOfTen(decimals))
        let old = Double(before) / unit
        let new = Double(after) / unit
        let difference = abs(new - old)
        direction = before == after ? .same : before == 0 ? .new : after == 0 ? .gone : after > before ? .grew : .shrank
        if options.sampleWeight == nil || difference < 2 * (max(new, 1) + options.beforeScale * max(old, options.beforeScale)).squareRoot() {
            level = 0
        } else {
            let share = difference / max(new, old)
            level = share < 0.1 ? 1 : share < 0.25 ? 2 : share < 0.5 ? 3 : 4
        }
    }

    var isMore: Bool { direction == .grew || direction == .new }

    /// `r` and `b` for red and blue, with the level; `n0` for noise.
    func paint(negated: Bool) -> Paint {
        level == 0 || direction == .same ? Paint(className: "n0") : Paint(className: "\(isMore != negated ? "r" : "b")\(level)")
    }

    /// Stands before the name in a box: says without colour what the colour says. What is noise has none, unless the
    /// frame is in one profile only.
    var sign: StaticString {
        switch direction {
        case .same: ""
        case .new: "✚ "
        case .gone: "✕ "
        case .grew: level > 0 ? "▲ " : ""
        case .shrank: level > 0 ? "▼ " : ""
        }
    }
}
