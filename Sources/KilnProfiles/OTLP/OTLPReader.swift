import Flamegraph
import PrintableText
import SwiftProtobuf

extension CollapseFormat {
    /// ProfilesData of OpenTelemetry's protocol, or a request to a collector, compressed or not.
    public static let otlp = CollapseFormat(
        name: "otlp", title: "profiles of OpenTelemetry (OTLP 1.10)",
        advice: "Give a file that `kiln export` wrote, or what a profiler sends to a collector of OpenTelemetry.",
        switches: [.kernel, .jit, .inline, .all, .count, .addrs, .eventFilter, .labels, .lines],
        recognizes: OTLPReader.recognizes, reader: OTLPReader.init)
}

/// Reads the messages ProfilesData and ExportProfilesServiceRequest, whose fields are the same:
/// https://github.com/open-telemetry/opentelemetry-proto/tree/v1.10.0
///
/// - Each profile has values of one type. Those of one type count, of all resources.
/// - A sample's values add up. A sample that has only times counts one for each.
/// - An attribute that a sample doesn't have is looked for in its profile, then in the resource.
struct OTLPReader: WholeReader {
    private let options: CollapseOptions
    private var values = CollapsedValues()

    init(_ options: CollapseOptions) { self.options = options }

    var measure: Measure { values.measure }
    var notes: [String] { values.notes }

    /// Whether these are the fields of ProfilesData. A profile of pprof has numbers where this has texts and messages.
    static func recognizes(_ beginning: [UInt8]) -> Bool {
        guard let bytes = Gzip.beginning(beginning), let seen = ProtobufFields.numbers(of: bytes[...], in: shape) else { return false }
        return !seen.isEmpty && !PprofReader.recognizes(beginning)
    }

    private static let shape: [UInt64: ProtobufShape] = {
        let type = ProtobufShape.message([1: .number, 2: .number])
        let sample = ProtobufShape.message([1: .number, 2: .numbers, 3: .number, 4: .numbers, 5: .manyFixed])
        let profile = ProtobufShape.message([
            1: type, 2: sample, 3: .fixed, 4: .number, 5: type, 6: .number, 7: .bytes, 8: .number, 9: .bytes, 10: .bytes, 11: .numbers,
        ])
        let keyAndValue = ProtobufShape.message([1: .text, 2: .bytes, 3: .number])
        let resource = ProtobufShape.message([1: keyAndValue, 2: .number, 3: .bytes])
        let scope = ProtobufShape.message([1: .text, 2: .text, 3: keyAndValue, 4: .number])
        let scopeProfiles = ProtobufShape.message([1: scope, 2: profile, 3: .text])
        let mapping = ProtobufShape.message([1: .number, 2: .number, 3: .number, 4: .number, 5: .numbers])
        let line = ProtobufShape.message([1: .number, 2: .number, 3: .number])
        let location = ProtobufShape.message([1: .number, 2: .number, 3: line, 4: .numbers])
        let function = ProtobufShape.message([1: .number, 2: .number, 3: .number, 4: .number])
        let attribute = ProtobufShape.message([1: .number, 2: .bytes, 3: .number])
        let link = ProtobufShape.message([1: .bytes, 2: .bytes]), stack = ProtobufShape.message([1: .numbers])
        return [
            1: .message([1: resource, 2: scopeProfiles, 3: .text]),
            2: .message([1: mapping, 2: location, 3: function, 4: link, 5: .bytes, 6: attribute, 7: stack]),
        ]
    }()

    mutating func read(_ input: [UInt8], _ stacks: inout CollapsedStacks) throws(UnreadableInput) {
        let bytes = Gzip.isGzip(input) ? try Gzip.inflated(input) : input
        let data: OTLP_ProfilesData
        do { data = try OTLP_ProfilesData(serializedBytes: bytes) } catch { throw UnreadableInput("it is damaged or has no profiles of OpenTelemetry") }
        let tables = try OTLPTables(data.dictionary)
        var profiles: [(profile: OTLP_Profile, kind: ValueKind, attributes: [OTLPAttribute])] = [], kinds: [ValueKind] = []
        for ofResource in data.resourceProfiles {
            let resource = try ofResource.resource.attributes.map { attribute throws(UnreadableInput) in try tables.attribute(attribute) }
            for profile in ofResource.scopeProfiles.flatMap(\.profiles) {
                let kind = ValueKind(
                    name: try tables.text(profile.sampleType.typeStrindex, "a profile"), unit: try tables.text(profile.sampleType.unitStrindex, "a profile"))
                let own = try profile.attributeIndices.map { index throws(UnreadableInput) in try tables.attribute(index, "a profile") }
                profiles.append((profile, kind, own + resource))
                if !kinds.contains(kind) { kinds.append(kind) }
            }
        }
        guard !profiles.isEmpty else { throw UnreadableInput("it has no profiles") }
        let name = kinds[try options.chosen(of: kinds)].name
        for (number, (profile, _, _)) in profiles.enumerated() { try tables.check(profile, "profile \(number + 1)") }
        let roots = try ProfileRoots(process: "process.executable.name", thread: "thread.name", state: "kiln.state", options) {
            let ofSamples = Set(profiles.flatMap { $0.profile.samples.flatMap(\.attributeIndices) }).map { tables.attributes[Int($0)].key }
            return Set(ofSamples + profiles.flatMap { $0.attributes.map(\.key) })
        }
        let frames = OTLPFrames(tables, options, &stacks)
        for (profile, kind, attributes) in profiles where kind.name == name {
            values.note(kind)
            for sample in profile.samples {
                var below: [UInt32] = [], areProcesses = roots.beginWithProcesses
                let own = sample.attributeIndices.map { tables.attributes[Int($0)] }
                for key in roots.keys {
                    if let attribute = own.first(where: { $0.key == key }) ?? attributes.first(where: { $0.key == key }) {
                        below.append(stacks.intern(roots.frame(key, attribute.value)))
                    }
                    if below.isEmpty { areProcesses = false }
                }
                let stack = frames.ofStack.isEmpty ? [] : frames.ofStack[Int(sample.stackIndex)]
                values.add(sample.sum, stack, on: below, areProcesses: areProcesses, &stacks)
            }
        }
        for kind in kinds { stacks.note(event: kind.name, samples: 0, isCounted: kind.name == name) }
    }
}

extension OTLP_Sample {
    /// What its values add up to; without values, how many times it has.
    fileprivate var sum: Int128 { values.isEmpty ? Int128(timestampsUnixNano.count) : values.reduce(0) { $0 + Int128($1) } }
}

/// An attribute as text.
private struct OTLPAttribute {
    var key: String
    /// Of a number with its key.
    var value: String
}

/// The dictionary after all its indices have been checked. Index 0 means "not set" and is valid even if the table is empty.
private struct OTLPTables {
    let mappings: [OTLP_Mapping]
    let locations: [OTLP_Location]
    let functions: [OTLP_Function]
    let stacks: [OTLP_Stack]
    private(set) var attributes: [OTLPAttribute] = []
    private let texts: [String]

    init(_ dictionary: OTLP_ProfilesDictionary) throws(UnreadableInput) {
        (mappings, locations, functions) = (dictionary.mappingTable, dictionary.locationTable, dictionary.functionTable)
        stacks = dictionary.stackTable
        texts = dictionary.stringTable.map(\.printable)
        for (number, attribute) in dictionary.attributeTable.enumerated() {
            let key = try text(attribute.keyStrindex, "attribute \(number)"), unit = try text(attribute.unitStrindex, "attribute \(number)")
            attributes.append(OTLPAttribute(key: key, value: try text(attribute.value, key, unit)))
        }
        for (number, mapping) in mappings.enumerated() {
            _ = try text(mapping.filenameStrindex, "mapping \(number)")
            try check(mapping.attributeIndices, attributes.count, "mapping \(number)", "attribute")
        }
        for (number, function) in functions.enumerated() {
            for index in [function.nameStrindex, function.systemNameStrindex, function.filenameStrindex] { _ = try text(index, "function \(number)") }
        }
        for (number, location) in locations.enumerated() {
            try check([location.mappingIndex], mappings.count, "location \(number)", "mapping")
            try check(location.lines.map(\.functionIndex), functions.count, "location \(number)", "function")
            try check(location.attributeIndices, attributes.count, "location \(number)", "attribute")
        }
        for (number, stack) in stacks.enumerated() { try check(stack.locationIndices, locations.count, "stack \(number)", "location") }
    }

    func check(_ profile: OTLP_Profile, _ name: String) throws(UnreadableInput) {
        for (number, sample) in profile.samples.enumerated() {
            let user = "sample \(number + 1) of \(name)"
            try check([sample.stackIndex], stacks.count, user, "stack")
            try check(sample.attributeIndices, attributes.count, user, "attribute")
            if !sample.values.isEmpty, !sample.timestampsUnixNano.isEmpty, sample.values.count != sample.timestampsUnixNano.count {
                throw UnreadableInput("\(user) has \(sample.values.count) values for \(sample.timestampsUnixNano.count) times")
            }
            guard sample.sum <= UInt64.max else { throw UnreadableInput("the values of \(user) add up to more than 64 bits") }
        }
    }

    func text(_ index: Int32, _ user: String) throws(UnreadableInput) -> String {
        try check([index], texts.count, user, "string")
        return texts.isEmpty ? "" : texts[Int(index)]
    }

    func attribute(_ index: Int32, _ user: String) throws(UnreadableInput) -> OTLPAttribute {
        guard attributes.indices.contains(Int(index)) else { throw Self.missing(user, "attribute", index) }
        return attributes[Int(index)]
    }

    /// An attribute of a resource.
    func attribute(_ attribute: OTLP_KeyValue) throws(UnreadableInput) -> OTLPAttribute {
        let key = attribute.keyStrindex == 0 ? attribute.key.printable : try text(attribute.keyStrindex, "a resource")
        return OTLPAttribute(key: key, value: try text(attribute.value, key, ""))
    }

    private func text(_ value: OTLP_AnyValue, _ key: String, _ unit: String) throws(UnreadableInput) -> String {
        let number: String
        switch value.value {
        case .stringValue(let text): return text.printable
        case .stringValueStrindex(let index): return try text(index, "attribute \(key)")
        case .boolValue(let flag): number = "\(flag)"
        case .intValue(let value): number = "\(value)"
        case .doubleValue(let value): number = "\(value)"
        case .bytesValue(let bytes): number = bytes.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
        case nil: number = ""
        }
        return "\(key)=\(number)\(unit.isEmpty ? "" : " " + unit)"
    }

    private func check(_ indices: [Int32], _ count: Int, _ user: String, _ what: String) throws(UnreadableInput) {
        for index in indices where index < 0 || index >= count {
            // Elements of attributes have no meaning of "not set".
            if index == 0, what != "attribute" { continue }
            throw Self.missing(user, what, index)
        }
    }

    private static func missing(_ user: String, _ what: String, _ index: Int32) -> UnreadableInput {
        UnreadableInput("\(user) names \(what) \(index), which is not in the file")
    }
}

/// Stacks as the numbers of their frames.
private struct OTLPFrames {
    /// By stack: the innermost frame first.
    private(set) var ofStack: [[UInt32]] = []

    init(_ tables: OTLPTables, _ options: CollapseOptions, _ stacks: inout CollapsedStacks) {
        let names = tables.locations.map { location in Self.names(location, tables, options).map { stacks.intern($0) } }
        ofStack = tables.stacks.map { stack in
            Array(stack.locationIndices.flatMap { names.isEmpty ? [] : names[Int($0)].suffix(CollapsedValues.mostFrames) }.suffix(CollapsedValues.mostFrames))
        }
    }

    private static func names(_ location: OTLP_Location, _ tables: OTLPTables, _ options: CollapseOptions) -> [[UInt8]] {
        func text(_ index: Int32) -> String { (try? tables.text(index, "")) ?? "" }
        let isKernel = location.attributeIndices.contains { index in
            tables.attributes[Int(index)].key == "profile.frame.type" && tables.attributes[Int(index)].value == "kernel"
        }
        let mapping = tables.mappings.isEmpty ? OTLP_Mapping() : tables.mappings[Int(location.mappingIndex)]
        let kind: FunctionName.Kind = isKernel ? .kernel : .native
        if location.lines.isEmpty {
            return [options.frame(kind, in: text(mapping.filenameStrindex), at: location.address &- mapping.memoryStart &+ mapping.fileOffset)]
        }
        return location.lines.enumerated().map { place, line in
            let function = tables.functions.isEmpty ? OTLP_Function() : tables.functions[Int(line.functionIndex)]
            return options.frame(
                name: text(function.nameStrindex), systemName: text(function.systemNameStrindex),
                kind == .native && place + 1 < location.lines.count ? .inlined : kind, file: text(function.filenameStrindex), line: line.line)
        }
    }
}
