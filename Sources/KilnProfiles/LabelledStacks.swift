/// Stacks for formats whose samples have no labels: each label becomes a frame below the stack, as the command does in folded stacks.
struct LabelledStacks {
    struct Track: Hashable {
        /// Index in `Profile.series`.
        var series: Int
        var process: String
        var thread: String?
    }

    struct Sample {
        /// Index in `stacks`; -1: no frame.
        var stack: Int32
        var interval: Int32?
        var weight: UInt64
    }

    /// The profile's frames, and behind them those that stand for labels.
    private(set) var frames: [Profile.Frame]
    private(set) var stacks: [Profile.Stack] = []
    /// In the order in which they have first samples.
    private(set) var tracks: [(track: Track, samples: [Sample])] = []

    private let profile: Profile
    private var numbers: [Profile.Stack: Int32] = [:]
    private var labelFrames: [String: Int32] = [:]

    init(_ profile: Profile) {
        self.profile = profile
        frames = profile.frames
        let roots = profile.labels.map { labels in Self.roots(labels).reduce(Int32(-1)) { stack($0, labelFrame($1)) } }
        // By the stack that they stand on, where each stack of the profile is.
        var known: [Int32: [Int32]] = [:]
        var places: [Track: Int] = [:]
        for (number, series) in profile.series.enumerated() {
            for sample in series.samples {
                let labels = profile.labels[Int(sample.labels)], root = roots[Int(sample.labels)]
                let track = Track(series: number, process: labels.process, thread: labels.thread)
                let place = places[track] ?? tracks.count
                if place == tracks.count {
                    places[track] = place
                    tracks.append((track, []))
                }
                let stack = placed(sample.stack, on: root, &known[root, default: []])
                tracks[place].samples.append(.init(stack: stack, interval: sample.interval, weight: sample.weight))
            }
        }
    }

    /// A track's name: `redis-server, io_thd_1: on-cpu`.
    func name(_ track: Track) -> String {
        track.process + (track.thread.map { ", \($0)" } ?? "") + ": " + profile.series[track.series].name
    }

    /// `GET (slow)`, `exec`, `(sleeping)`.
    private static func roots(_ labels: Profile.Labels) -> [String] {
        let command = labels.command.map { $0 + (labels.verdict.map { " (\($0))" } ?? "") }
        return [command, labels.phase, labels.state.map { "(\($0))" }].compactMap(\.self)
    }

    private mutating func labelFrame(_ text: String) -> Int32 {
        if let known = labelFrames[text] { return known }
        let number = Int32(frames.count)
        frames.append(.init(function: FunctionName(name: text), module: nil))
        labelFrames[text] = number
        return number
    }

    private mutating func stack(_ caller: Int32, _ frame: Int32) -> Int32 {
        let stack = Profile.Stack(caller: caller, frame: frame)
        if let known = numbers[stack] { return known }
        let number = Int32(stacks.count)
        stacks.append(stack)
        numbers[stack] = number
        return number
    }

    private mutating func placed(_ stack: Int32, on root: Int32, _ known: inout [Int32]) -> Int32 {
        if known.isEmpty { known = [Int32](repeating: -1, count: profile.stacks.count) }
        var path: [Int32] = [], at = stack
        while at >= 0, known[Int(at)] < 0 {
            path.append(at)
            at = profile.stacks[Int(at)].caller
        }
        var number = at < 0 ? root : known[Int(at)]
        for stack in path.reversed() {
            number = self.stack(number, profile.stacks[Int(stack)].frame)
            known[Int(stack)] = number
        }
        return number
    }
}

extension LabelledStacks {
    /// The frames of a stack, the outermost first.
    func path(of stack: Int32) -> [Int32] {
        var path: [Int32] = [], at = stack
        while at >= 0 {
            path.append(stacks[Int(at)].frame)
            at = stacks[Int(at)].caller
        }
        return path.reversed()
    }
}
