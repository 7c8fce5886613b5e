extension ExportFormat {
    /// The file format of speedscope: https://www.speedscope.app/file-format-schema.json
    public static let speedscope = ExportFormat(
        name: "speedscope", title: "https://www.speedscope.app", endings: [".speedscope.json", ".speedscope"],
        bytes: { profile, _ in SpeedscopeWriter(profile).json })
}

/// A profile for each kind, process and thread, with its samples in the order of time. Samples on a CPU weigh their period in nanoseconds; events count.
/// What is known of a sample besides its stack stands below its frames.
struct SpeedscopeWriter {
    private let profile: Profile
    private let stacks: LabelledStacks

    init(_ profile: Profile) {
        self.profile = profile
        stacks = LabelledStacks(profile)
    }

    var json: [UInt8] {
        var json = JSONText()
        json.object { json in
            json.field("$schema", "https://www.speedscope.app/file-format-schema.json")
            json.field("exporter", "kiln \(profile.version)")
            json.field("name", profile.program)
            json.field("activeProfileIndex", 0)
            json.field("shared", object: { $0.field("frames", array: { for frame in stacks.frames { add(frame, &$0) } }) })
            json.field("profiles", array: { for (track, samples) in stacks.tracks { add(track, samples, &$0) } })
        }
        return json.bytes
    }

    private func add(_ frame: Profile.Frame, _ json: inout JSONText) {
        json.object { json in
            json.field("name", frame.function.name + frame.function.kind.rawValue)
            if let file = frame.function.file ?? frame.module.map({ profile.modules[Int($0)].module }) { json.field("file", file) }
            if let line = frame.function.line { json.field("line", line) }
        }
    }

    private func add(_ track: LabelledStacks.Track, _ samples: [LabelledStacks.Sample], _ json: inout JSONText) {
        var factor: UInt64 = 1, unit = "nanoseconds"
        switch profile.series[track.series].unit {
        case .samples(let period): factor = period
        case .nanoseconds: break
        case .events: unit = "none"
        }
        let weights = samples.map { $0.weight.multipliedSaturating(by: factor) }
        json.object { json in
            json.field("type", "sampled")
            json.field("name", stacks.name(track))
            json.field("unit", unit)
            json.field("startValue", 0)
            json.field("endValue", weights.reduce(0) { $0.addingReportingOverflow($1).overflow ? .max : $0 + $1 })
            json.field(
                "samples",
                array: { json in
                    for sample in samples { json.array { for frame in stacks.path(of: sample.stack) { $0.value(frame) } } }
                })
            json.field("weights", array: { for weight in weights { $0.value(weight) } })
        }
    }
}
