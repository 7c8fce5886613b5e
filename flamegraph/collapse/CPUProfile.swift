import FoundationEssentials

extension CollapseFormat {
    /// A `.cpuprofile` of V8: `node --cpu-prof`, or saved by Chrome. Microseconds of each node's own time.
    public static let cpuprofile = CollapseFormat(
        name: "cpuprofile", title: ".cpuprofile of V8", advice: "Give a file that `node --cpu-prof` wrote, or Chrome saved.",
        switches: [.count],
        recognizes: { lines in
            guard let first = lines.lazy.map({ $0.drop { $0.isSpace || $0 == UInt8(ascii: "\r") } }).first(where: { !$0.isEmpty }) else { return false }
            return first.first == UInt8(ascii: "{")
        },
        collapser: { options, _ in LineCollapser(CPUProfileReader(countsSamples: options.countsSamples), options) })
}

/// A tree of functions and the samples that hit its nodes:
///
///     {"nodes": [{"id": 1, "callFrame": {"functionName": "(root)", …}, "hitCount": 0, "children": [2, 3]}, …],
///      "startTime": 1000, "endTime": 9000, "samples": [2, 3, 2], "timeDeltas": [500, 1000, 1200]}
///
/// A sample lasts until the next one, the last until the end, as in Chrome's own view. Samples may be out of order: then a delta is negative.
/// Files without samples have only their numbers, `hitCount`.
struct CPUProfileReader: LineReader {
    private struct Profile: Decodable {
        struct Node: Decodable {
            struct CallFrame: Decodable {
                var functionName: String?
                var url: String?
                var lineNumber: Int?
            }
            var id: Int
            var callFrame: CallFrame
            var hitCount: Int?
            var children: [Int]?
            var parent: Int?
        }
        var nodes: [Node]
        var startTime: Double?
        var endTime: Double?
        var samples: [Int]?
        var timeDeltas: [Double]?
    }

    let countsSamples: Bool
    private var text: [UInt8] = []
    private var hasTimes = false
    private var hasCounts = false
    private var sumOfWeights = 0.0
    private var sumOfSquares = 0.0

    init(countsSamples: Bool) { self.countsSamples = countsSamples }

    var measure: Measure {
        var measure = Measure()
        // Times of one file and counts of another have no unit together.
        if hasTimes != hasCounts { measure.unit = hasTimes ? "us" : "samples" }
        if sumOfWeights > 0 { measure.sampleWeight = sumOfSquares / sumOfWeights }
        return measure
    }

    mutating func read(_ line: UnsafeRawBufferPointer, _ stacks: inout CollapsedStacks) -> LineKind {
        text += line
        text.append(UInt8(ascii: "\n"))
        return .field
    }

    mutating func endInput(_ stacks: inout CollapsedStacks) {
        defer { text = [] }
        let profile: Profile
        do {
            profile = try JSONDecoder().decode(Profile.self, from: Data(text))
        } catch {
            return stacks.reject(text, .notJSON)
        }
        var parents: [Int: Int] = [:]
        var frames: [Int: UInt32] = [:]
        for node in profile.nodes {
            frames[node.id] = stacks.intern(Self.frame(node.callFrame))
            if let parent = node.parent { parents[node.id] = parent }
            for child in node.children ?? [] { parents[child] = node.id }
        }
        // It stands for everything.
        let root = profile.nodes.first { $0.callFrame.functionName == "(root)" && parents[$0.id] == nil }?.id
        for (node, weight, samples) in weights(profile, &stacks) {
            guard let leaf = frames[node] else {
                stacks.reject("\(node)".utf8, .unknownNode)
                continue
            }
            var stack = [leaf]
            var place = node
            while let parent = parents[place], let frame = frames[parent], parent != root, stack.count <= CollapsedStacks.depthLimit {
                stack.append(frame)
                place = parent
            }
            // A tree has no longer way up than nodes.
            if stack.count > profile.nodes.count { stacks.reject("\(node)".utf8, .nodeBelowItself) }
            stacks.add(weight, stack, below: nil, samples: samples)
        }
    }

    /// What each node has of its own, and in how many samples, in the order of the numbers of nodes.
    private mutating func weights(_ profile: Profile, _ stacks: inout CollapsedStacks) -> [(node: Int, weight: UInt64, samples: Int)] {
        var weights: [Int: (weight: UInt64, samples: Int)] = [:]
        func add(_ weight: UInt64, _ samples: Int, to node: Int) {
            let known = weights[node] ?? (0, 0)
            let (sum, overflow) = known.weight.addingReportingOverflow(weight)
            if overflow { stacks.reject("\(node)".utf8, .weightTooLarge) }
            weights[node] = (overflow ? known.weight : sum, known.samples + samples)
        }
        let samples = profile.samples ?? []
        if let times = Self.times(profile), !countsSamples {
            hasTimes = true
            let order = times.indices.dropLast().sorted { (times[$0], $0) < (times[$1], $1) }
            for (place, sample) in order.enumerated() {
                let next = place + 1 < order.count ? times[order[place + 1]] : max(times[times.count - 1], times[sample])
                let weight = UInt64(exactly: (next - times[sample]).rounded()) ?? 0
                sumOfWeights += Double(weight)
                sumOfSquares += Double(weight) * Double(weight)
                add(weight, 1, to: samples[sample])
            }
        } else {
            hasCounts = true
            for sample in samples { add(1, 1, to: sample) }
            if samples.isEmpty {
                for node in profile.nodes { if let hits = node.hitCount, hits > 0 { add(UInt64(hits), min(hits, 1 << 40), to: node.id) } }
            }
            (sumOfWeights, sumOfSquares) = (1, 1)
        }
        return weights.map { ($0.key, $0.value.weight, $0.value.samples) }.filter { $0.1 > 0 || $0.2 > 0 }.sorted { $0.0 < $1.0 }
    }

    /// When each sample was taken, in microseconds from the beginning, and last when the recording ended; nil where the file doesn't tell.
    private static func times(_ profile: Profile) -> [Double]? {
        guard let samples = profile.samples, let deltas = profile.timeDeltas, !samples.isEmpty, deltas.count == samples.count else { return nil }
        var times: [Double] = []
        var time = 0.0
        for delta in deltas {
            time += delta
            guard time.magnitude < 1e15 else { return nil }
            times.append(time)
        }
        var end = time
        if let start = profile.startTime, let last = profile.endTime, last - start > time, last - start < 1e15 { end = last - start }
        return times + [end]
    }

    /// `f app.js:12`: functions of one name in two places are two. Nameless ones and those of V8 itself as V8 calls them.
    private static func frame(_ call: Profile.Node.CallFrame) -> [UInt8] {
        var name = call.functionName ?? ""
        if name.isEmpty { name = "(anonymous)" }
        guard let url = call.url, !url.isEmpty else { return frameName(name.utf8) }
        let file = url.hasPrefix("node:") ? url[...] : url.split(separator: "/").last ?? url[...]
        let line = call.lineNumber.flatMap { $0 >= 0 && $0 < Int.max ? ":\($0 + 1)" : nil } ?? ""
        return frameName("\(name) \(file)\(line)".utf8)
    }
}
