import KilnModel
import SwiftProtobuf

extension ExportFormat {
    /// profile.proto of pprof: https://github.com/google/pprof/blob/main/proto/profile.proto
    public static let pprof = ExportFormat(
        name: "pprof", title: "go tool pprof, Pyroscope, Parca, Polar Signals, speedscope", endings: [".pb", ".pprof", ".prof"], isUsuallyCompressed: true,
        hasOneKind: true,
        bytes: { profile, options in
            guard let series = profile.series.first else { return [] }
            var writer = PprofWriter(profile, options)
            return try writer.profile(series).serializedBytes()
        })
}

/// A series as pprof has it: no times, but labels.
///
/// - On-CPU samples have two values, `samples/count` and `cpu/nanoseconds`; the time is the count times the period. Waits have one,
///   `off_cpu/nanoseconds`, because sessions don't count waits by stack. An event has its name and `count` or `nanoseconds`.
/// - The last sample type is the one that tools show first.
/// - Each location is one frame. It has no address, because a session keeps the names of frames and not their addresses.
/// - Function.system_name has the mark of folded stacks (`read_[k]`), Function.name does not.
/// - The kernel and generated code have mappings of their own.
struct PprofWriter {
    /// The file name of the mapping of the kernel's frames, as perf and pprof know it.
    static let kernel = "[kernel.kallsyms]"
    /// Of just-in-time compiled code.
    static let generated = "[jit]"

    private let profile: Profile
    private let options: ExportOptions
    private var strings = StringTable()
    private var mappings: [Pprof_Mapping] = []
    private var functions: [Pprof_Function] = []
    private var locations: [Pprof_Location] = []
    private var locationOfFrame: [UInt64] = []

    init(_ profile: Profile, _ options: ExportOptions) {
        self.profile = profile
        self.options = options
    }

    mutating func profile(_ series: Profile.Series) -> Pprof_Profile {
        var result = Pprof_Profile()
        let (types, period) = sampleTypes(series)
        result.sampleType = types
        addMappings()
        addLocations()
        result.sample = samples(series)
        result.timeNanos = Int64(clamping: profile.start)
        result.durationNanos = Int64(clamping: profile.duration)
        if let period {
            result.periodType = types[types.count - 1]
            result.period = period
        }
        var comments = ["kiln \(profile.version)"]
        if series.dropped > 0 { comments.append("\(series.dropped) \(series.unit.name) had no room and are missing") }
        result.comment = comments.map { number($0) }
        (result.mapping, result.location, result.function, result.stringTable) = (mappings, locations, functions, strings.strings)
        return result
    }

    private mutating func number(_ text: String) -> Int64 { Int64(strings.number(text)) }

    private mutating func sampleTypes(_ series: Profile.Series) -> (types: [Pprof_ValueType], period: Int64?) {
        func type(_ type: String, _ unit: String) -> Pprof_ValueType { .with { ($0.type, $0.unit) = (number(type), number(unit)) } }
        switch series.unit {
        case .samples(let period): return ([type("samples", "count"), type("cpu", "nanoseconds")], Int64(clamping: period))
        case .nanoseconds: return ([type(series.valueName, "nanoseconds")], nil)
        case .events: return ([type(series.valueName, "count")], nil)
        }
    }

    private mutating func addMappings() {
        func add(_ file: String, _ buildID: String?) {
            mappings.append(
                .with {
                    $0.id = UInt64(mappings.count + 1)
                    $0.filename = number(file)
                    $0.buildID = number(buildID ?? "")
                    // All names are in the file: nobody has to look for them by build ID.
                    $0.hasFunctions_p = true
                    $0.hasFilenames_p = true
                    $0.hasLineNumbers_p = true
                    $0.hasInlineFrames_p = true
                })
        }
        if profile.modules.isEmpty { add(profile.program, nil) }
        for module in profile.modules { add(module.module, module.buildID) }
        // Behind all files: the first mapping is the program.
        add(Self.kernel, nil)
        add(Self.generated, nil)
    }

    private func mapping(of frame: Profile.Frame) -> UInt64 {
        switch frame.function.kind {
        case .kernel: UInt64(mappings.count - 1)
        case .generated: UInt64(mappings.count)
        case .native, .inlined: frame.module.map { UInt64($0) + 1 } ?? 0
        }
    }

    private mutating func addLocations() {
        var numbers: [FunctionName: UInt64] = [:]
        locationOfFrame = []
        for frame in profile.frames {
            var key = frame.function
            key.line = nil
            let function = numbers[key] ?? UInt64(functions.count + 1)
            if numbers[key] == nil {
                numbers[key] = function
                functions.append(
                    .with {
                        $0.id = function
                        $0.name = number(key.name)
                        $0.systemName = number(key.folded(withPlace: false))
                        $0.filename = number(key.file ?? "")
                    })
            }
            locations.append(
                .with {
                    $0.id = UInt64(locations.count + 1)
                    $0.mappingID = mapping(of: frame)
                    $0.line = [
                        .with {
                            $0.functionID = function
                            $0.line = frame.function.line ?? 0
                        }
                    ]
                })
            locationOfFrame.append(UInt64(locations.count))
        }
    }

    private mutating func samples(_ series: Profile.Series) -> [Pprof_Sample] {
        let labels = profile.labels.map { labels in
            var list = labels.texts.map { key, value in Pprof_Label.with { ($0.key, $0.str) = (number(key), number(value)) } }
            if let latency = labels.latency {
                list.append(.with { ($0.key, $0.num, $0.numUnit) = (number("latency"), Int64(clamping: latency.lower), number("nanoseconds")) })
            }
            return list
        }
        var merged = MergedLocations(self)
        let samples = series.withoutTime.map { sample in
            Pprof_Sample.with {
                $0.locationID = options.inlinedAreLines ? merged.locations(of: sample.stack) : locations(of: sample.stack)
                let weight = Int64(clamping: sample.weight)
                $0.value =
                    if case .samples(let period) = series.unit { [weight, Int64(clamping: sample.weight.multipliedSaturating(by: period))] } else { [weight] }
                $0.label = labels[Int(sample.labels)]
            }
        }
        locations += merged.added
        return samples
    }

    private func locations(of stack: Int32) -> [UInt64] {
        var list: [UInt64] = []
        list.reserveCapacity(32)
        profile.forEachFrame(of: stack) { list.append(locationOfFrame[Int($0)]) }
        return list
    }

    /// Locations of a function and of those that are inlined into it, for each combination that occurs.
    private struct MergedLocations {
        private let writer: PprofWriter
        private(set) var added: [Pprof_Location] = []
        private var numbers: [[Int32]: UInt64] = [:]

        init(_ writer: PprofWriter) { self.writer = writer }

        mutating func locations(of stack: Int32) -> [UInt64] {
            var list: [UInt64] = [], inlined: [Int32] = []
            writer.profile.forEachFrame(of: stack) { frame in
                inlined.append(frame)
                if writer.profile.frames[Int(frame)].function.kind == .inlined { return }
                list.append(number(inlined))
                inlined = []
            }
            // Whatever they were inlined into is not known.
            return list + inlined.map { writer.locationOfFrame[Int($0)] }
        }

        private mutating func number(_ frames: [Int32]) -> UInt64 {
            if frames.count == 1 { return writer.locationOfFrame[Int(frames[0])] }
            if let known = numbers[frames] { return known }
            let id = UInt64(writer.locations.count + added.count + 1)
            numbers[frames] = id
            added.append(
                .with {
                    $0.id = id
                    $0.mappingID = writer.mapping(of: writer.profile.frames[Int(frames[frames.count - 1])])
                    $0.line = frames.flatMap { writer.locations[Int($0)].line }
                })
            return id
        }
    }
}

extension Profile.Series {
    /// Under which name formats have its values: letters, digits and `_`.
    var valueName: String {
        if name == "off-cpu" { return "off_cpu" }
        return String(name.map { $0.isASCII && ($0.isLetter || $0.isNumber) ? $0 : "_" })
    }
}

extension Profile.Unit {
    /// In the plural.
    public var name: String {
        switch self {
        case .samples: "samples"
        case .nanoseconds: "nanoseconds"
        case .events: "events"
        }
    }
}

extension UInt64 {
    func multipliedSaturating(by other: UInt64) -> UInt64 {
        let (product, overflow) = multipliedReportingOverflow(by: other)
        return overflow ? .max : product
    }
}
