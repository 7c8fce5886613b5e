import Flamegraph
import PrintableText
import SwiftProtobuf

extension CollapseFormat {
    /// profile.proto of pprof, compressed or not: of Go, of kiln and of others.
    public static let pprof = CollapseFormat(
        name: "pprof", title: "a profile of pprof", advice: "Give a file that `go test -cpuprofile`, net/http/pprof or `kiln export` wrote.",
        switches: [.kernel, .jit, .inline, .all, .count, .addrs, .eventFilter, .labels, .lines],
        recognizes: PprofReader.recognizes, reader: PprofReader.init)
}

/// Reads profile.proto: https://github.com/google/pprof/blob/main/proto/profile.proto
struct PprofReader: WholeReader {
    private let options: CollapseOptions
    private var values = CollapsedValues()

    init(_ options: CollapseOptions) { self.options = options }

    var measure: Measure { values.measure }
    var notes: [String] { values.notes }

    /// Whether these are the fields of a profile, with the type of its values or of its period among them. Go's begin with the time, others with the types.
    static func recognizes(_ beginning: [UInt8]) -> Bool {
        guard let bytes = Gzip.beginning(beginning), let seen = ProtobufFields.numbers(of: bytes[...], in: shape) else { return false }
        return seen.contains(1) || seen.contains(11)
    }

    private static let shape: [UInt64: ProtobufShape] = {
        let type = ProtobufShape.message([1: .number, 2: .number]), function = ProtobufShape.message(numbers(1...5))
        let sample = ProtobufShape.message([1: .numbers, 2: .numbers, 3: .message(numbers(1...4))])
        let location = ProtobufShape.message([1: .number, 2: .number, 3: .number, 4: .message(numbers(1...3)), 5: .number])
        return [1: type, 2: sample, 3: .message(numbers(1...10)), 4: location, 5: function, 6: .bytes, 11: type, 13: .numbers]
            .merging([7, 8, 9, 10, 12, 14, 15].map { ($0, .number) }) { first, _ in first }
    }()

    private static func numbers(_ fields: ClosedRange<UInt64>) -> [UInt64: ProtobufShape] {
        Dictionary(uniqueKeysWithValues: fields.map { ($0, .number) })
    }

    mutating func read(_ input: [UInt8], _ stacks: inout CollapsedStacks) throws(UnreadableInput) {
        let bytes = Gzip.isGzip(input) ? try Gzip.inflated(input) : input
        let profile: Pprof_Profile
        do { profile = try Pprof_Profile(serializedBytes: bytes) } catch { throw UnreadableInput("it is damaged or no profile of pprof") }
        let texts = PprofTexts(profile)
        let kinds = profile.sampleType.map { ValueKind(name: texts[$0.type], unit: texts[$0.unit]) }
        guard !kinds.isEmpty else { throw UnreadableInput("it has no sample types") }
        let usual = kinds.firstIndex { $0.name == texts[profile.defaultSampleType] }
        let type = try options.chosen(of: kinds, usual: usual)
        let frames = try PprofFrames(profile, texts, options, &stacks)
        let roots = try ProfileRoots(process: "process", thread: "thread", state: "state", options) {
            Set(profile.sample.flatMap { $0.label.map { texts[$0.key] } })
        }
        // All is checked before anything is counted.
        for (number, sample) in profile.sample.enumerated() {
            guard sample.value.count == kinds.count else {
                throw UnreadableInput("sample \(number + 1) has \(sample.value.count) values for \(kinds.count) types")
            }
            for location in sample.locationID where frames.ofLocation[location] == nil {
                throw UnreadableInput("sample \(number + 1) names location \(location), which is not in the file")
            }
        }
        for sample in profile.sample {
            let stack = sample.locationID.flatMap { frames.ofLocation[$0] ?? [] }
            var below: [UInt32] = [], areProcesses = roots.beginWithProcesses
            for key in roots.keys {
                for label in sample.label where texts[label.key] == key { below.append(stacks.intern(roots.frame(key, texts.value(of: label)))) }
                if below.isEmpty { areProcesses = false }
            }
            values.add(Int128(sample.value[type]), stack, on: below, areProcesses: areProcesses, &stacks)
        }
        values.note(kinds[type])
        stacks.note(event: kinds[type].name, samples: 0, isCounted: true)
        for (place, other) in kinds.enumerated() where place != type { stacks.note(event: other.name, samples: 0, isCounted: false) }
    }
}

/// The string table.
private struct PprofTexts {
    private let table: [String]

    init(_ profile: Pprof_Profile) { table = profile.stringTable.map(\.printable) }

    /// The string at this index; empty if the table has no such index.
    subscript(_ index: Int64) -> String { Int(exactly: index).flatMap { table.indices.contains($0) ? table[$0] : nil } ?? "" }

    /// A label's value; a number with its key.
    func value(of label: Pprof_Label) -> String {
        label.str != 0 ? self[label.str] : "\(self[label.key])=\(label.num)\(label.numUnit == 0 ? "" : " " + self[label.numUnit])"
    }
}

/// Locations as the numbers of their frames.
private struct PprofFrames {
    /// By the location's ID: the innermost frame first.
    private(set) var ofLocation: [UInt64: [UInt32]] = [:]

    init(_ profile: Pprof_Profile, _ texts: PprofTexts, _ options: CollapseOptions, _ stacks: inout CollapsedStacks) throws(UnreadableInput) {
        let functions = Dictionary(profile.function.map { ($0.id, $0) }, uniquingKeysWith: { first, _ in first })
        let mappings = Dictionary(profile.mapping.map { ($0.id, $0) }, uniquingKeysWith: { first, _ in first })
        ofLocation.reserveCapacity(profile.location.count)
        for location in profile.location {
            let mapping = mappings[location.mappingID]
            let file = mapping.map { texts[$0.filename] } ?? ""
            let kind: FunctionName.Kind = file.hasPrefix("[kernel") ? .kernel : file == PprofWriter.generated ? .generated : .native
            var frames: [UInt32] = []
            for (place, line) in location.line.enumerated() {
                guard let function = functions[line.functionID] else {
                    throw UnreadableInput("location \(location.id) names function \(line.functionID), which is not in the file")
                }
                let isInlined = kind == .native && place + 1 < location.line.count
                frames.append(
                    stacks.intern(
                        options.frame(
                            name: texts[function.name], systemName: texts[function.systemName], isInlined ? .inlined : kind, file: texts[function.filename],
                            line: line.line)))
            }
            if frames.isEmpty {
                let offset = location.address &- (mapping?.memoryStart ?? 0) &+ (mapping?.fileOffset ?? 0)
                frames = [stacks.intern(options.frame(kind, in: file, at: offset))]
            }
            ofLocation[location.id] = Array(frames.suffix(CollapsedValues.mostFrames))
        }
    }
}
