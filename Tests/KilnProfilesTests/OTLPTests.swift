import Flamegraph
import SwiftProtobuf
import Testing
@testable import KilnProfiles

/// The rules of opentelemetry-proto 1.10 and of the specification of mappings for what is written, and what a reader makes of files of others.
struct OTLPTests {
    @Test(arguments: [["on-cpu", "off-cpu", "page-faults"], ["off-cpu"], ["page-faults"]])
    func whatIsWrittenFollowsTheRules(kinds: [String]) throws {
        var profile = try WrittenSession.full.profile()
        profile.series = profile.series.filter { kinds.contains($0.name) }
        let data = try OTLP_ProfilesData(serializedBytes: try ExportFormat.otlp.bytes(profile, .init()))
        let violations = OTLPRules(data).violations
        #expect(violations.isEmpty, "\(violations.prefix(5))")
        let profiles = data.resourceProfiles.flatMap { $0.scopeProfiles.flatMap(\.profiles) }
        #expect(profiles.count == kinds.count)
        for (kind, profile) in zip(kinds, profiles) {
            #expect(profile.samples.reduce(0) { $0 + $1.values.reduce(0, +) } == Int64(WrittenSession.full.weight(of: kind)))
            #expect(profile.timeUnixNano == WrittenSession.start && profile.durationNano == 10_000_000_000)
            let end = profile.timeUnixNano + profile.durationNano
            #expect(profile.samples.allSatisfy { $0.timestampsUnixNano.allSatisfy { $0 >= profile.timeUnixNano && $0 < end } })
        }
    }

    @Test func receiversKnowTheTypesOfSamplesAndWaits() throws {
        let data = try OTLP_ProfilesData(serializedBytes: try ExportFormat.otlp.bytes(try WrittenSession.full.profile(), .init()))
        let texts = data.dictionary.stringTable
        func type(_ type: OTLP_ValueType) -> String { "\(texts[Int(type.typeStrindex)]):\(texts[Int(type.unitStrindex)])" }
        let profiles = data.resourceProfiles[0].scopeProfiles[0].profiles
        #expect(profiles.map { type($0.sampleType) } == ["samples:count", "off_cpu:nanoseconds", "page_faults:count"])
        #expect(profiles.map { $0.hasPeriodType ? type($0.periodType) : "" } == ["cpu:nanoseconds", "", ""])
        #expect(profiles[0].period == 10_000_000)
    }

    @Test func theCheckOfTheRulesFindsWhatBreaksThem() throws {
        let whole = try OTLP_ProfilesData(serializedBytes: try ExportFormat.otlp.bytes(try WrittenSession.full.profile(), .init()))
        let damages: [(inout OTLP_ProfilesData) -> Void] = [
            { $0.dictionary.stringTable.append($0.dictionary.stringTable[3]) },
            { $0.dictionary.stackTable[0].locationIndices = [1] },
            { $0.dictionary.stackTable[1].locationIndices.append(100_000) },
            { $0.dictionary.mappingTable[1].attributeIndices = [] },
            { $0.dictionary.locationTable.append($0.dictionary.locationTable[2]) },
            { $0.dictionary.functionTable.append(.with { $0.startLine = 1 }) },
            { $0.resourceProfiles[0].scopeProfiles[0].profiles[0].samples[0].values.append(1) },
            { $0.resourceProfiles[0].scopeProfiles[0].profiles[0].samples.append($0.resourceProfiles[0].scopeProfiles[0].profiles[0].samples[0]) },
            { $0.resourceProfiles[0].scopeProfiles[0].profiles[0].clearSampleType() },
        ]
        for (number, damage) in damages.enumerated() {
            var damaged = whole
            damage(&damaged)
            #expect(!OTLPRules(damaged).violations.isEmpty, "damage \(number)")
        }
    }

    /// A session begins before its first interval: what it attaches takes a while.
    @Test func aProfileIsAsLongAsItsTimes() throws {
        var session = WrittenSession(samples: [
            .init(frames: [.init("main")], interval: 12, weight: 1), .init(frames: [.init("main")], interval: 22, weight: 1),
        ])
        for _ in 0..<2 {
            let profile = try session.profile()
            #expect(profile.start == WrittenSession.start + 11_000_000_000 && profile.duration == 11_000_000_000)
            session.samples.reverse()
        }
    }

    // MARK: Files of others

    /// Two functions, the first inlined into the second, in a file of others.
    private static func sample(_ change: (inout OTLP_ProfilesData) -> Void = { _ in }) throws -> [UInt8] {
        var data = OTLP_ProfilesData()
        data.dictionary = .with {
            $0.stringTable = [
                "", "samples", "count", "inner", "outer", "a.c", "thread.name", "worker", "profile.frame.type", "kernel", "sys_read", "/lib/libz.so.1",
            ]
            $0.functionTable = [
                .init(), .with { ($0.nameStrindex, $0.filenameStrindex) = (3, 5) }, .with { $0.nameStrindex = 4 }, .with { $0.nameStrindex = 10 },
            ]
            $0.mappingTable = [.init(), .with { ($0.memoryStart, $0.fileOffset, $0.filenameStrindex) = (0x1000, 0x200, 11) }]
            $0.attributeTable = [
                .init(), .with { ($0.keyStrindex, $0.value.stringValueStrindex) = (6, 7) },
                .with { ($0.keyStrindex, $0.value.stringValue) = (8, "kernel") },
            ]
            $0.locationTable = [
                .init(),
                .with {
                    $0.lines = [
                        .with { ($0.functionIndex, $0.line) = (1, 12) }, .with { $0.functionIndex = 2 },
                    ]
                }, .with { ($0.lines, $0.attributeIndices) = ([.with { $0.functionIndex = 3 }], [2]) },
                .with { ($0.mappingIndex, $0.address) = (1, 0x1234) },
            ]
            $0.stackTable = [.init(), .with { $0.locationIndices = [2, 1, 3] }]
        }
        let profile = OTLP_Profile.with {
            $0.sampleType = .with { ($0.typeStrindex, $0.unitStrindex) = (1, 2) }
            $0.samples = [.with { ($0.stackIndex, $0.attributeIndices, $0.timestampsUnixNano) = (1, [1], [5, 6, 7]) }]
        }
        data.resourceProfiles = [
            .with {
                $0.resource.attributes = [.with { ($0.key, $0.value.stringValue) = ("process.executable.name", "proxy") }]
                $0.scopeProfiles = [.with { $0.profiles = [profile] }]
            }
        ]
        change(&data)
        return try data.serializedBytes()
    }

    @Test func aSampleWithTimesOnlyCountsEach() throws {
        let file = try Self.sample(), collapsed = try Collapsed(.otlp, file)
        #expect(collapsed.stacks == ["proxy;worker;libz.so.1+0x434;outer;inner (a.c:12)_[i];sys_read_[k]": 3])
        #expect(OTLPReader.recognizes(file) && !PprofReader.recognizes(file))
    }

    @Test func valuesAddUpAndThoseOfSeveralResources() throws {
        let file = try Self.sample { data in
            data.resourceProfiles[0].scopeProfiles[0].profiles[0].samples[0].values = [5, 6, 7]
            data.resourceProfiles.append(data.resourceProfiles[0])
            data.resourceProfiles[1].resource.attributes[0].value.stringValue = "other"
        }
        let collapsed = try Collapsed(.otlp, file) { $0.labels = ["process.executable.name"] }
        #expect(collapsed.stacks.map { "\($0.key.prefix(6)) \($0.value)" }.sorted() == ["other; 18", "proxy; 18"])
    }

    @Test func whatDoesNotFitTogetherIsOneLine() throws {
        let damages: [(String, (inout OTLP_ProfilesData) -> Void)] = [
            ("sample 1 of profile 1 names stack 9", { $0.resourceProfiles[0].scopeProfiles[0].profiles[0].samples[0].stackIndex = 9 }),
            ("sample 1 of profile 1 names stack -1", { $0.resourceProfiles[0].scopeProfiles[0].profiles[0].samples[0].stackIndex = -1 }),
            ("sample 1 of profile 1 names attribute 99", { $0.resourceProfiles[0].scopeProfiles[0].profiles[0].samples[0].attributeIndices = [99] }),
            ("sample 1 of profile 1 has 1 values for 3 times", { $0.resourceProfiles[0].scopeProfiles[0].profiles[0].samples[0].values = [1] }),
            (
                "the values of sample 1 of profile 1 add up to more than 64 bits",
                { $0.resourceProfiles[0].scopeProfiles[0].profiles[0].samples[0].values = [.max, .max, .max] }
            ),
            ("stack 1 names location 4", { $0.dictionary.stackTable[1].locationIndices = [4] }),
            ("location 1 names function 7", { $0.dictionary.locationTable[1].lines[0].functionIndex = 7 }),
            ("location 3 names mapping 2", { $0.dictionary.locationTable[3].mappingIndex = 2 }),
            ("location 2 names attribute 3", { $0.dictionary.locationTable[2].attributeIndices = [3] }),
            ("mapping 1 names string 1000", { $0.dictionary.mappingTable[1].filenameStrindex = 1000 }),
            ("function 2 names string -5", { $0.dictionary.functionTable[2].nameStrindex = -5 }),
            ("attribute 1 names string 12", { $0.dictionary.attributeTable[1].keyStrindex = 12 }),
            ("attribute thread.name names string 12", { $0.dictionary.attributeTable[1].value.stringValueStrindex = 12 }),
            ("a profile names string 55", { $0.resourceProfiles[0].scopeProfiles[0].profiles[0].sampleType.unitStrindex = 55 }),
            ("a profile names attribute 55", { $0.resourceProfiles[0].scopeProfiles[0].profiles[0].attributeIndices = [55] }),
            ("it has no profiles", { $0.resourceProfiles = [] }),
        ]
        for (message, damage) in damages {
            let collapsed = try Collapsed(.otlp, try Self.sample(damage))
            let failure = collapsed.failure ?? ""
            #expect(failure.hasPrefix(message) && !failure.contains("\n"), "\(message): \(failure)")
            #expect(collapsed.stacks.isEmpty)
        }
    }

    @Test func aFileWithoutTablesHasSamplesWithoutFrames() throws {
        let file = try Self.sample { data in
            data.dictionary = .init()
            data.resourceProfiles[0].scopeProfiles[0].profiles = [.with { $0.samples = [.with { $0.values = [4] }] }]
        }
        #expect(try Collapsed(.otlp, file).stacks == ["proxy": 4])
    }
}

/// What breaks the rules of a file's dictionary, profiles and samples.
private struct OTLPRules {
    private(set) var violations: [String] = []

    init(_ data: OTLP_ProfilesData) {
        let tables = data.dictionary
        func check(_ isRight: Bool, _ what: @autoclosure () -> String) { if !isRight { violations.append(what()) } }
        func checkTable<Element: Hashable & Message>(_ table: [Element], _ name: String, isZero: (Element) -> Bool = { $0 == Element() }) {
            check(table.first.map(isZero) ?? false, "\(name)[0] is not zero")
            check(Set(table).count == table.count, "\(name) has duplicates")
        }
        checkTable(tables.mappingTable, "mapping_table")
        checkTable(tables.locationTable, "location_table")
        checkTable(tables.functionTable, "function_table")
        checkTable(tables.attributeTable, "attribute_table")
        checkTable(tables.stackTable, "stack_table")
        checkTable(tables.linkTable, "link_table") { $0.traceID == .init(repeating: 0, count: 16) && $0.spanID == .init(repeating: 0, count: 8) }
        check(tables.stringTable.first == "", "string_table[0] is not empty")
        check(Set(tables.stringTable).count == tables.stringTable.count, "string_table has duplicates")

        var used: [String: Set<Int32>] = [:]
        func index(_ index: Int32, _ count: Int, _ table: String) {
            check(index >= 0 && index < count, "\(table): index \(index) of \(count)")
            used[table, default: [0]].insert(index)
        }
        func text(_ place: Int32) { index(place, tables.stringTable.count, "string_table") }
        func attributes(_ indices: [Int32]) {
            for place in indices { index(place, tables.attributeTable.count, "attribute_table") }
            let keys = indices.filter { $0 > 0 && $0 < tables.attributeTable.count }.map { tables.attributeTable[Int($0)].keyStrindex }
            check(keys.count == indices.count && Set(keys).count == keys.count, "attributes are not set, or two have one key")
        }
        for attribute in tables.attributeTable { [attribute.keyStrindex, attribute.unitStrindex].forEach(text) }
        for mapping in tables.mappingTable {
            text(mapping.filenameStrindex)
            attributes(mapping.attributeIndices)
        }
        let buildIDs = ["gnu", "go", "htlhash"].map { "process.executable.build_id.\($0)" }
        for mapping in tables.mappingTable.dropFirst() {
            let keys = mapping.attributeIndices.map { tables.stringTable[Int(tables.attributeTable[Int($0)].keyStrindex)] }
            check(keys.contains(where: buildIDs.contains), "a mapping has no build ID")
        }
        for function in tables.functionTable { [function.nameStrindex, function.systemNameStrindex, function.filenameStrindex].forEach(text) }
        for location in tables.locationTable {
            index(location.mappingIndex, tables.mappingTable.count, "mapping_table")
            for line in location.lines { index(line.functionIndex, tables.functionTable.count, "function_table") }
            attributes(location.attributeIndices)
        }
        for stack in tables.stackTable {
            for location in stack.locationIndices { index(location, tables.locationTable.count, "location_table") }
            check(!stack.locationIndices.contains(0), "a stack has a location that is not set")
        }
        var identifiers = Set<[UInt8]>()
        for profile in data.resourceProfiles.flatMap({ $0.scopeProfiles.flatMap(\.profiles) }) {
            check(profile.hasSampleType && profile.sampleType.typeStrindex > 0 && profile.sampleType.unitStrindex > 0, "a profile has no type")
            [profile.sampleType.typeStrindex, profile.sampleType.unitStrindex, profile.periodType.typeStrindex, profile.periodType.unitStrindex].forEach(text)
            check(profile.profileID.count == 16 && identifiers.insert(Array(profile.profileID)).inserted, "a profile has no identifier of its own")
            attributes(profile.attributeIndices)
            var identities = Set<[Int32]>()
            for sample in profile.samples {
                index(sample.stackIndex, tables.stackTable.count, "stack_table")
                index(sample.linkIndex, tables.linkTable.count, "link_table")
                attributes(sample.attributeIndices)
                check(!sample.values.isEmpty || !sample.timestampsUnixNano.isEmpty, "a sample has neither values nor times")
                check(
                    sample.values.isEmpty || sample.timestampsUnixNano.isEmpty || sample.values.count == sample.timestampsUnixNano.count,
                    "a sample has as many values as times")
                let identity = [sample.stackIndex, sample.linkIndex] + sample.attributeIndices.sorted()
                check(identities.insert(identity).inserted, "two samples have one identity")
            }
        }
        // The specification: there should be no elements that nothing refers to.
        let counts = [
            ("mapping_table", tables.mappingTable.count), ("location_table", tables.locationTable.count), ("function_table", tables.functionTable.count),
            ("string_table", tables.stringTable.count), ("attribute_table", tables.attributeTable.count), ("stack_table", tables.stackTable.count),
        ]
        for (table, count) in counts { check(used[table, default: [0]].count == count, "\(table) has elements that nothing refers to") }
    }
}
