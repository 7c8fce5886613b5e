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
    private var unit: String?
    private var event: String?
    private var isMixed = false
    private var negative: UInt64 = 0
    private var haveProcesses = true

    init(_ options: CollapseOptions) { self.options = options }

    var measure: Measure {
        var measure = Measure()
        if isMixed { return measure }
        (measure.unit, measure.event) = (unit, event)
        if unit == "samples" { measure.sampleWeight = 1 }
        measure.rootsAreProcesses = haveProcesses
        return measure
    }

    var notes: [String] { negative == 0 ? [] : ["\(negative) samples with negative values, of a difference of profiles, are left out"] }

    /// The first fields of a profile: the sample types, the period's type or samples. OpenTelemetry's have other fields.
    static func recognizes(_ beginning: [UInt8]) -> Bool {
        guard let bytes = Gzip.isGzip(beginning) ? try? Gzip.inflated(beginning, limit: 1 << 12) : beginning else { return false }
        var fields = ProtobufFields(bytes[...])
        guard let first = fields.next() else { return false }
        switch first.number {
        case 1, 11:
            // ValueType: two indices.
            guard let content = first.content, !content.isEmpty else { return false }
            var inner = ProtobufFields(content)
            while let field = inner.next() {
                if field.content != nil || !(1...2).contains(field.number) { return false }
            }
            return inner.isAtEnd
        case 2...6: return first.content != nil && fields.next().map { (1...15).contains($0.number) } ?? false
        default: return false
        }
    }

    mutating func read(_ input: [UInt8], _ stacks: inout CollapsedStacks) throws(UnreadableInput) {
        let bytes = Gzip.isGzip(input) ? try Gzip.inflated(input) : input
        let profile: Pprof_Profile
        do { profile = try Pprof_Profile(serializedBytes: bytes) } catch { throw UnreadableInput("it is damaged or no profile of pprof") }
        let texts = PprofTexts(profile)
        let type = try chosenType(profile, texts, &stacks)
        let frames = try PprofFrames(profile, texts, options, &stacks)
        let roots = try PprofRoots(profile, texts, options, &stacks)
        // All is checked before anything is counted.
        for (number, sample) in profile.sample.enumerated() {
            guard sample.value.count == profile.sampleType.count else {
                throw UnreadableInput("sample \(number + 1) has \(sample.value.count) values for \(profile.sampleType.count) types")
            }
            for location in sample.locationID where frames.ofLocation[location] == nil {
                throw UnreadableInput("sample \(number + 1) names location \(location), which is not in the file")
            }
        }
        for sample in profile.sample {
            guard let weight = UInt64(exactly: sample.value[type]) else {
                negative += 1
                continue
            }
            if weight == 0 { continue }
            let stack = sample.locationID.flatMap { frames.ofLocation[$0] ?? [] }
            let below = roots.frames(of: sample, &stacks)
            if below.isEmpty { haveProcesses = false }
            stacks.add(weight, stack + below.reversed(), below: nil, hasStack: !stack.isEmpty)
        }
        let name = texts[profile.sampleType[type].type]
        note(name, texts[profile.sampleType[type].unit])
        stacks.note(event: name, samples: 0, isCounted: true)
        for (place, other) in profile.sampleType.enumerated() where place != type { stacks.note(event: texts[other.type], samples: 0, isCounted: false) }
    }

    /// Inputs of different types have no unit together.
    private mutating func note(_ type: String, _ unit: String) {
        let unit = unit == "count" ? (type == "samples" ? "samples" : "events") : unit == "nanoseconds" ? "ns" : unit
        let event = type == "samples" || type == "cpu" ? nil : type
        if let known = self.unit, known != unit || self.event != event { isMixed = true }
        (self.unit, self.event) = (unit, event)
    }

    /// Which of a sample's values counts: the one that is asked for, or the samples of a CPU profile, or the file's default, which is the last.
    private func chosenType(_ profile: Pprof_Profile, _ texts: PprofTexts, _ stacks: inout CollapsedStacks) throws(UnreadableInput) -> Int {
        let types = profile.sampleType.map { texts[$0.type] }
        guard !types.isEmpty else { throw UnreadableInput("it has no sample types") }
        if let wanted = options.events.first {
            if let place = types.firstIndex(of: wanted) { return place }
            throw UnreadableInput("it has no values \(wanted.printable), only \(types.joined(separator: ", ")): name one of them with --event-filter")
        }
        if let place = profile.sampleType.firstIndex(where: { texts[$0.type] == "samples" && texts[$0.unit] == "count" }) { return place }
        if options.countsSamples, let place = profile.sampleType.firstIndex(where: { texts[$0.unit] == "count" }) { return place }
        return types.firstIndex(of: texts[profile.defaultSampleType]) ?? types.count - 1
    }
}

/// The string table.
struct PprofTexts {
    private let table: [String]

    init(_ profile: Pprof_Profile) { table = profile.stringTable.map(\.printable) }

    /// Empty for what is not in the table.
    subscript(_ index: Int64) -> String { Int(exactly: index).flatMap { table.indices.contains($0) ? table[$0] : nil } ?? "" }
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
            var frames: [UInt32] = []
            for (place, line) in location.line.enumerated() {
                guard let function = functions[line.functionID] else {
                    throw UnreadableInput("location \(location.id) names function \(line.functionID), which is not in the file")
                }
                let kind: FunctionName.Kind =
                    file.hasPrefix("[kernel") ? .kernel : file == PprofWriter.generated ? .generated : place + 1 < location.line.count ? .inlined : .native
                frames.append(stacks.intern(Self.name(function, line.line, kind, texts, options)))
            }
            if frames.isEmpty { frames = [stacks.intern(Self.unnamed(location, mapping, file, options))] }
            ofLocation[location.id] = frames
        }
    }

    private static func name(
        _ function: Pprof_Function, _ line: Int64, _ kind: FunctionName.Kind, _ texts: PprofTexts, _ options: CollapseOptions
    ) -> [UInt8] {
        let text = texts[function.name].isEmpty ? texts[function.systemName] : texts[function.name]
        // kiln's own files have the mark of a frame there.
        let marked = FunctionName(folded: texts[function.systemName])
        var name = FunctionName(name: options.demangle?(text) ?? text)
        name.kind = marked.name == text && marked.kind != .native ? marked.kind : kind
        if options.showsLines, !texts[function.filename].isEmpty {
            (name.file, name.line) = (texts[function.filename], line > 0 ? line : nil)
        }
        switch name.kind {
        case .kernel where !options.marksKernel, .generated where !options.marksJIT, .inlined where !options.marksInlined: name.kind = .native
        default: break
        }
        return frameName(name.folded(withPlace: true).utf8)
    }

    /// `libc.so.6+0x1234`: a place in the file, or with the mapping unknown an address.
    private static func unnamed(_ location: Pprof_Location, _ mapping: Pprof_Mapping?, _ file: String, _ options: CollapseOptions) -> [UInt8] {
        let mark = options.marksKernel && file.hasPrefix("[kernel") ? FunctionName.Kind.kernel.rawValue : ""
        guard let mapping, let module = file.split(separator: "/").last else { return Array("[unknown]".utf8) }
        let offset = location.address &- mapping.memoryStart &+ mapping.fileOffset
        return frameName("\(module)+0x\(String(offset, radix: 16))\(mark)".utf8)
    }
}

/// What stands below the frames: values of labels.
private struct PprofRoots {
    private let texts: PprofTexts
    private let keys: [String]

    /// What kiln's own files have; others rarely have labels of these names.
    private static let usual = ["process", "thread", "state"]

    init(_ profile: Pprof_Profile, _ texts: PprofTexts, _ options: CollapseOptions, _ stacks: inout CollapsedStacks) throws(UnreadableInput) {
        self.texts = texts
        keys = options.labels ?? Self.usual
        guard options.labels != nil else { return }
        let known = Set(profile.sample.flatMap { $0.label.map { texts[$0.key] } })
        for key in keys where !known.contains(key) {
            let list = known.sorted().joined(separator: ", ")
            throw UnreadableInput("no sample has a label \(key.printable). \(known.isEmpty ? "It has no labels" : "There are: \(list)").")
        }
    }

    func frames(of sample: Pprof_Sample, _ stacks: inout CollapsedStacks) -> [UInt32] {
        if sample.label.isEmpty { return [] }
        return keys.flatMap { key in
            sample.label.filter { texts[$0.key] == key }.map { label in
                let text = label.str != 0 ? texts[label.str] : "\(key)=\(label.num)\(label.numUnit == 0 ? "" : " " + texts[label.numUnit])"
                return stacks.intern(frameName((key == "state" ? "(\(text))" : text).utf8))
            }
        }
    }
}
