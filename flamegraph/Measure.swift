/// What the numbers of folded text are. Text says so in comments before its stacks, as `kiln collapse` writes them:
///
///     # event: cpu-clock
///     # unit: ns
///     # weight of a sample: 5025125
///     # roots: processes
///
/// Text of two profiles that were scaled to the same weight says `# first profile multiplied by: 50`, too.
public struct Measure: Sendable, Equatable {
    /// What was counted or timed.
    public var event: String?
    /// What the weights count, in the plural: samples, ns, cycles.
    public var unit: String?
    /// The weight of one sample, for the scatter of sums: the mean of squares over the mean.
    public var sampleWeight: Double?
    /// Whether each stack begins with the name of its process, which is no code.
    public var rootsAreProcesses = false
    /// What the first of two profiles was multiplied by after it was recorded; nil where its weights are as recorded.
    var beforeScale: Double?

    /// The unit of what was added up from different ones.
    static let mixedUnit = "units"

    public init() {}

    /// The comments that say so.
    public var comments: String {
        var text = ""
        if let event { text += "# event: \(displayString(event.utf8))\n" }
        if let unit { text += "# unit: \(displayString(unit.utf8))\n" }
        if let sampleWeight { text += "# weight of a sample: \(decimalText(sampleWeight))\n" }
        if rootsAreProcesses { text += "# roots: processes\n" }
        if let beforeScale { text += "# first profile multiplied by: \(decimalText(beforeScale))\n" }
        return text
    }

    /// Takes over what a comment says, without its `#`. Other comments say nothing here.
    mutating func read(_ comment: Slice<UnsafeRawBufferPointer>) {
        func value(_ key: String) -> String? {
            comment.starts(with: key.utf8) ? String(decoding: comment.dropFirst(key.utf8.count).prefix(80), as: UTF8.self) : nil
        }
        if let name = value(" event: ") { event = name }
        if let name = value(" unit: ") { unit = name }
        func number(_ key: String) -> Double? { value(key).flatMap(Double.init).flatMap { $0.isFinite && $0 > 0 ? $0 : nil } }
        if let weight = number(" weight of a sample: ") { sampleWeight = weight }
        if let scale = number(" first profile multiplied by: ") { beforeScale = scale }
        if value(" roots: processes") == "" { rootsAreProcesses = true }
    }

    /// Takes over what later comments of the same input say.
    mutating func add(_ later: Measure) {
        event = later.event ?? event
        unit = later.unit ?? unit
        sampleWeight = later.sampleWeight ?? sampleWeight
        rootsAreProcesses = rootsAreProcesses || later.rootsAreProcesses
        beforeScale = later.beforeScale ?? beforeScale
    }

    /// What two inputs have in common, each of its own measure.
    func merged(with other: Measure) -> Measure {
        var both = Measure()
        if event == other.event { both.event = event }
        both.unit = unit == other.unit ? unit : countsTheSame(as: other) ? nil : Self.mixedUnit
        if both.unit != Self.mixedUnit, let sampleWeight, let weight = other.sampleWeight { both.sampleWeight = max(sampleWeight, weight) }
        both.rootsAreProcesses = rootsAreProcesses && other.rootsAreProcesses
        if beforeScale != nil || other.beforeScale != nil { both.beforeScale = max(beforeScale ?? 1, other.beforeScale ?? 1) }
        return both
    }

    /// Whether weights of the two may be added up and compared. Text that says nothing is taken for samples.
    public func countsTheSame(as other: Measure) -> Bool {
        let (one, two) = (unit ?? "samples", other.unit ?? "samples")
        if one != two { return false }
        guard one == "samples", let event, let otherEvent = other.event else { return true }
        return event == otherEvent
    }

    /// What is counted, for a sentence: `samples of cycles`; nil where the text doesn't say.
    public var counted: String? {
        guard let unit else { return nil }
        return unit == "samples" && event != nil ? "samples of \(event ?? "")" : unit
    }

    private func decimalText(_ value: Double) -> String {
        value == value.rounded() && value < 1e15 ? String(Int(value)) : String(value)
    }
}

extension FoldedStacks {
    /// What the weights count, in the plural, as far as the text tells.
    public var unit: String { measure.unit ?? (looksLikeCounts ? "samples" : Measure.mixedUnit) }

    /// The weight of one sample, which decides what noise is: as the text says, or what its numbers allow; nil where nothing tells.
    public var sampleWeight: Double? {
        if let sampleWeight = measure.sampleWeight { return sampleWeight }
        // Numbers that were scaled, or added up from different units, tell nothing.
        if measure.beforeScale != nil || measure.unit == Measure.mixedUnit { return nil }
        if looksLikeCounts { return 1 }
        // Samples of one period: all weights are multiples of it.
        let divisor = greatestCommonDivisor
        return divisor >= Self.leastPeriod ? Double(divisor) / Double(powerOfTen(decimals)) : nil
    }

    /// Sums of counts have small ones among them; sums of periods have none.
    private static var leastPeriod: UInt64 { 1000 }

    private var looksLikeCounts: Bool {
        let limit = Self.leastPeriod * powerOfTen(min(decimals, 15))
        for node in 1..<UInt32(max(tree.count, 1)) {
            let own = ownWeights(node)
            if own.total > 0, own.total - own.before < limit && own.total - own.before > 0 || own.before > 0 && own.before < limit { return true }
        }
        return false
    }

    private var greatestCommonDivisor: UInt64 {
        var divisor: UInt64 = 0
        for node in 1..<UInt32(max(tree.count, 1)) where divisor != 1 {
            let own = ownWeights(node)
            for var weight in [own.before, own.total - own.before] {
                while weight > 0 { (divisor, weight) = (weight, divisor % weight) }
            }
        }
        return divisor
    }

    private func ownWeights(_ node: UInt32) -> (total: UInt64, before: UInt64) {
        var (total, before) = (tree[node].total, weightBefore(node))
        var child = tree.firstChild(node)
        while child != 0 {
            total -= tree[child].total
            before -= weightBefore(child)
            child = tree[child].nextSibling
        }
        return (total, before)
    }
}
