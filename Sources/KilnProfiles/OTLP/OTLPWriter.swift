import SwiftProtobuf

extension ExportFormat {
    /// ProfilesData of OpenTelemetry's protocol: https://github.com/open-telemetry/opentelemetry-proto/tree/v1.10.0
    public static let otlp = ExportFormat(
        name: "otlp", title: "OpenTelemetry, as of OTLP 1.10; its profiles are alpha, and later versions may not read them", endings: [".otlp", ".otlp.pb"],
        bytes: { profile, _ in
            var writer = OTLPWriter(profile)
            return try writer.data().serializedBytes()
        })
}

/// A profile for each kind. A sample has a stack, attributes and, for each interval in which it was taken, a value and the interval's beginning as time.
///
/// - `samples:count` with the period `cpu:nanoseconds`, and `off_cpu:nanoseconds` without a period, are what receivers know. Other kinds have their own
///   name and `count` or `nanoseconds`.
/// - A mapping has its file's GNU build ID, as the specification demands; frames of files without one have no mapping.
/// - Function.system_name has the mark of folded stacks (`read_[k]`), Function.name does not.
/// - Attributes that have a name in the semantic conventions have that; the others begin with `kiln.`.
struct OTLPWriter {
    private let profile: Profile
    private var dictionary = OTLP_ProfilesDictionary()
    private var strings = StringTable()
    private var attributeNumbers: [Attribute: Int32] = [:]

    private struct Attribute: Hashable {
        var key: String
        var text: String?
        var number: Int64?
        var unit = ""
    }

    init(_ profile: Profile) { self.profile = profile }

    mutating func data() -> OTLP_ProfilesData {
        // Element 0 of each table means "not set". The others are added where they are first named, so that nothing is there that no sample needs.
        dictionary.mappingTable = [.init()]
        dictionary.locationTable = [.init()]
        dictionary.functionTable = [.init()]
        dictionary.linkTable = [.with { ($0.traceID, $0.spanID) = (.init(repeating: 0, count: 16), .init(repeating: 0, count: 8)) }]
        dictionary.attributeTable = [.init()]
        dictionary.stackTable = [.init()]
        let profiles = profile.series.map { self.series($0) }
        dictionary.stringTable = strings.strings
        var data = OTLP_ProfilesData()
        data.dictionary = dictionary
        data.resourceProfiles = [
            .with {
                $0.resource.attributes = resource
                $0.scopeProfiles = [
                    .with {
                        $0.scope = .with { ($0.name, $0.version) = ("kiln", profile.version) }
                        $0.profiles = profiles
                    }
                ]
            }
        ]
        return data
    }

    private var resource: [OTLP_KeyValue] {
        func text(_ key: String, _ value: String) -> OTLP_KeyValue { .with { ($0.key, $0.value.stringValue) = (key, value) } }
        let name = profile.program.split(separator: "/").last.map(String.init) ?? profile.program
        var attributes = [text("service.name", name), text("process.executable.name", name)]
        if profile.program.hasPrefix("/") { attributes.append(text("process.executable.path", profile.program)) }
        if profile.pid != 0 { attributes.append(.with { ($0.key, $0.value.intValue) = ("process.pid", Int64(profile.pid)) }) }
        return attributes
    }

    private mutating func number(_ text: String) -> Int32 { Int32(clamping: strings.number(text)) }

    private mutating func number(_ attribute: Attribute) -> Int32 {
        if let known = attributeNumbers[attribute] { return known }
        let number = Int32(clamping: dictionary.attributeTable.count)
        dictionary.attributeTable.append(
            .with {
                $0.keyStrindex = self.number(attribute.key)
                if let text = attribute.text { $0.value.stringValue = text }
                if let value = attribute.number { $0.value.intValue = value }
                $0.unitStrindex = self.number(attribute.unit)
            })
        attributeNumbers[attribute] = number
        return number
    }

    private var mappingOfModule: [Int32: Int32] = [:]

    /// 0: it has no mapping.
    private mutating func mapping(_ module: Int32) -> Int32 {
        if let known = mappingOfModule[module] { return known }
        guard let buildID = profile.modules[Int(module)].buildID else { return 0 }
        // Modules differ in name or build ID, so that no entry stands twice.
        let name = number(profile.modules[Int(module)].module), attribute = number(Attribute(key: "process.executable.build_id.gnu", text: buildID))
        let mapping = Int32(clamping: dictionary.mappingTable.count)
        dictionary.mappingTable.append(.with { ($0.filenameStrindex, $0.attributeIndices) = (name, [attribute]) })
        mappingOfModule[module] = mapping
        return mapping
    }

    private var functions: [FunctionName: Int32] = [:]

    private mutating func function(_ name: FunctionName) -> Int32 {
        var key = name
        key.line = nil
        if let known = functions[key] { return known }
        let function = Int32(clamping: dictionary.functionTable.count)
        dictionary.functionTable.append(
            .with {
                $0.nameStrindex = number(key.name)
                $0.systemNameStrindex = number(key.folded(withPlace: false))
                $0.filenameStrindex = number(key.file ?? "")
            })
        functions[key] = function
        return function
    }

    /// Frames of two modules without a build ID may have the same.
    private struct Location: Hashable {
        var function: FunctionName
        var mapping: Int32
    }

    private var locations: [Location: Int32] = [:]
    private var locationOfFrame: [Int32: Int32] = [:]

    private mutating func location(ofFrame place: Int32) -> Int32 {
        if let known = locationOfFrame[place] { return known }
        let frame = profile.frames[Int(place)]
        let key = Location(function: frame.function, mapping: frame.module.map { mapping($0) } ?? 0)
        let location = locations[key] ?? Int32(clamping: dictionary.locationTable.count)
        if locations[key] == nil {
            let function = function(frame.function)
            let attributes = type(of: frame).map { [number(Attribute(key: "profile.frame.type", text: $0))] } ?? []
            dictionary.locationTable.append(
                .with {
                    $0.mappingIndex = key.mapping
                    $0.lines = [.with { ($0.functionIndex, $0.line) = (function, frame.function.line ?? 0) }]
                    $0.attributeIndices = attributes
                })
            locations[key] = location
        }
        locationOfFrame[place] = location
        return location
    }

    /// As the semantic conventions call it; nil for generated code, of which the language is not known.
    private func type(of frame: Profile.Frame) -> String? {
        switch frame.function.kind {
        case .kernel: "kernel"
        case .generated: nil
        case .native, .inlined: frame.function.name.hasPrefix("py:") ? "cpython" : "native"
        }
    }

    private var stackNumbers: [Int32: Int32] = [:]
    private var stackByLocations: [[Int32]: Int32] = [:]

    private mutating func number(ofStack stack: Int32) -> Int32 {
        if stack < 0 { return 0 }
        if let known = stackNumbers[stack] { return known }
        var locations: [Int32] = []
        profile.forEachFrame(of: stack) { locations.append(location(ofFrame: $0)) }
        let number = stackByLocations[locations] ?? Int32(clamping: dictionary.stackTable.count)
        if stackByLocations[locations] == nil {
            stackByLocations[locations] = number
            dictionary.stackTable.append(.with { $0.locationIndices = locations })
        }
        stackNumbers[stack] = number
        return number
    }

    private mutating func attributes(_ labels: Profile.Labels) -> [Int32] {
        let keys = ["process": "process.executable.name", "thread": "thread.name"]
        var list = labels.texts.map { key, value in number(Attribute(key: keys[key] ?? "kiln.\(key)", text: value)) }
        if let latency = labels.latency {
            list.append(number(Attribute(key: "kiln.latency", number: Int64(clamping: latency.lower), unit: "ns")))
        }
        return list
    }

    private mutating func series(_ series: Profile.Series) -> OTLP_Profile {
        func type(_ type: String, _ unit: String) -> OTLP_ValueType { .with { ($0.typeStrindex, $0.unitStrindex) = (number(type), number(unit)) } }
        var result = OTLP_Profile()
        switch series.unit {
        case .samples(let period):
            result.sampleType = type("samples", "count")
            result.periodType = type("cpu", "nanoseconds")
            result.period = Int64(clamping: period)
        case .nanoseconds: result.sampleType = type(series.valueName, "nanoseconds")
        case .events: result.sampleType = type(series.valueName, "count")
        }
        result.timeUnixNano = profile.start
        result.durationNano = profile.duration
        result.profileID = .init((0..<16).map { _ in UInt8.random(in: .min ... .max) })
        var attributes: [Int32: [Int32]] = [:]
        struct Identity: Hashable {
            var stack: Int32
            var attributes: [Int32]
        }
        var places: [Identity: Int] = [:]
        for sample in series.samples {
            let ofLabels = attributes[sample.labels] ?? self.attributes(profile.labels[Int(sample.labels)])
            attributes[sample.labels] = ofLabels
            let identity = Identity(stack: number(ofStack: sample.stack), attributes: ofLabels)
            let place = places[identity] ?? result.samples.count
            if place == result.samples.count {
                places[identity] = place
                result.samples.append(.with { ($0.stackIndex, $0.attributeIndices) = (identity.stack, identity.attributes) })
            }
            result.samples[place].values.append(Int64(clamping: sample.weight))
            if let interval = sample.interval { result.samples[place].timestampsUnixNano.append(profile.intervals[Int(interval)].start) }
        }
        return result
    }
}
