import KilnModel

extension ExportFormat {
    /// The processed format of the Firefox profiler, version 46, which later versions upgrade:
    /// https://github.com/firefox-devtools/profiler/blob/main/docs-developer/processed-profile-format.md
    public static let firefox = ExportFormat(
        name: "firefox", title: "https://profiler.firefox.com", endings: [".firefox.json", ".profile.json"],
        bytes: { profile, _ in FirefoxWriter(profile).json })
}

/// A thread of the profiler for each kind, process and thread.
///
/// - Times are milliseconds from the beginning. The samples of an interval stand at its beginning: in which order they were taken is not known.
/// - A sample has its weight: so many samples or events, or milliseconds of waits.
/// - What is known of a sample besides its stack stands below its frames.
struct FirefoxWriter {
    /// Columns `category` have their places.
    private enum Category: Int, CaseIterable {
        case other, user, kernel, generated

        var name: (name: String, color: String) {
            switch self {
            case .other: ("Other", "grey")
            case .user: ("User", "yellow")
            case .kernel: ("Kernel", "orange")
            case .generated: ("JIT", "green")
            }
        }
    }

    private let profile: Profile
    private let stacks: LabelledStacks

    init(_ profile: Profile) {
        self.profile = profile
        stacks = LabelledStacks(profile)
    }

    var json: [UInt8] {
        var json = JSONText()
        json.object { json in
            json.field("meta", object: addMeta)
            json.field("libs", array: { for module in profile.modules { add(module, &$0) } })
            for empty in ["pages", "counters", "profilerOverhead"] { json.field(empty, array: { _ in }) }
            json.field("threads", array: { for (number, (track, samples)) in stacks.tracks.enumerated() { add(track, samples, number, &$0) } })
        }
        return json.bytes
    }

    private func addMeta(_ json: inout JSONText) {
        json.field("version", 24)
        json.field("preprocessedProfileVersion", 46)
        json.field("product", profile.program)
        json.field("importedFrom", "kiln \(profile.version)")
        json.field("startTime", Double(profile.start) / 1e6)
        json.field("interval", milliseconds(profile.intervals.first.map { $0.end - min($0.start, $0.end) } ?? 1_000_000_000))
        json.field("processType", 0)
        json.field("stackwalk", 1)
        json.field("debug", false)
        json.field("symbolicated", true)
        json.field("usesOnlyOneStackType", true)
        json.field("doesNotUseFrameImplementation", true)
        json.field("sourceCodeIsNotOnSearchfox", true)
        json.field(
            "extensions",
            object: { json in
                json.field("length", 0)
                for column in ["id", "name", "baseURL"] { json.field(column, array: { _ in }) }
            })
        for empty in ["markerSchema", "pausedRanges"] { json.field(empty, array: { _ in }) }
        json.field(
            "categories",
            array: { json in
                for category in Category.allCases {
                    json.object { json in
                        json.field("name", category.name.name)
                        json.field("color", category.name.color)
                        json.field("subcategories", array: { $0.value("Other") })
                    }
                }
            })
    }

    private func add(_ module: SampleModule, _ json: inout JSONText) {
        let name = module.module.split(separator: "/").last.map(String.init) ?? module.module
        json.object { json in
            for (key, text) in [("name", name), ("debugName", name), ("path", module.module), ("debugPath", module.module)] { json.field(key, text) }
            json.field("breakpadId", module.buildID.map(Self.breakpadID) ?? "")
            json.key("codeId")
            if let buildID = module.buildID { json.value(buildID) } else { json.null() }
            json.key("arch")
            json.null()
        }
    }

    /// The first 16 bytes of a build ID as a GUID, whose first three numbers are little-endian, and 0.
    static func breakpadID(_ buildID: String) -> String {
        let digits = Array(buildID.uppercased().utf8.prefix(32)) + repeatElement(UInt8(ascii: "0"), count: max(0, 32 - buildID.utf8.count))
        let order = [3, 2, 1, 0, 5, 4, 7, 6] + Array(8..<16)
        return String(decoding: order.flatMap { digits[2 * $0..<2 * $0 + 2] }, as: UTF8.self) + "0"
    }

    private func add(_ track: LabelledStacks.Track, _ samples: [LabelledStacks.Sample], _ number: Int, _ json: inout JSONText) {
        let tables = Tables(samples, stacks, profile)
        json.object { json in
            json.field("name", stacks.name(track))
            json.field("isMainThread", track.thread == nil)
            json.field("processType", "default")
            json.field("processName", track.process)
            json.field("pid", profile.pid == 0 ? track.process : "\(profile.pid)")
            json.field("tid", number + 1)
            for (key, time) in [("processStartupTime", 0.0), ("registerTime", 0.0)] { json.field(key, time) }
            for key in ["processShutdownTime", "unregisterTime"] {
                json.key(key)
                json.null()
            }
            json.field("pausedRanges", array: { _ in })
            json.field("samples", object: { add(samples, tables, profile.series[track.series].unit, &$0) })
            json.field(
                "markers",
                object: { json in
                    json.field("length", 0)
                    for column in ["data", "name", "startTime", "endTime", "phase", "category"] { json.field(column, array: { _ in }) }
                })
            add(tables, &json)
        }
    }

    private func add(_ samples: [LabelledStacks.Sample], _ tables: Tables, _ unit: Profile.Unit, _ json: inout JSONText) {
        json.field("length", samples.count)
        json.field("stack", column: samples.map { $0.stack < 0 ? nil : tables.placeOfStack[$0.stack] })
        json.field(
            "time",
            array: { json in
                for sample in samples { json.value(sample.interval.map { time(profile.intervals[Int($0)].start) } ?? 0) }
            })
        json.field("weightType", unit == .nanoseconds ? "tracing-ms" : "samples")
        json.field(
            "weight",
            array: { json in
                for sample in samples { if unit == .nanoseconds { json.value(milliseconds(sample.weight)) } else { json.value(sample.weight) } }
            })
    }

    /// From the beginning.
    private func time(_ nanoseconds: UInt64) -> Double { milliseconds(nanoseconds > profile.start ? nanoseconds - profile.start : 0) }

    private func milliseconds(_ nanoseconds: UInt64) -> Double { Double(nanoseconds) / 1e6 }

    private func category(_ frame: Profile.Frame) -> Int {
        switch frame.function.kind {
        case .kernel: Category.kernel.rawValue
        case .generated: Category.generated.rawValue
        case .native, .inlined: frame.module == nil ? Category.other.rawValue : Category.user.rawValue
        }
    }

    private func add(_ tables: Tables, _ json: inout JSONText) {
        func nulls(_ count: Int) -> [Int?] { [Int?](repeating: nil, count: count) }
        func zeros(_ count: Int) -> [Int?] { [Int?](repeating: 0, count: count) }
        func flags(_ name: String, _ count: Int, _ json: inout JSONText) {
            json.field(name, array: { json in for _ in 0..<count { json.value(false) } })
        }
        let frames = tables.frames.map { stacks.frames[Int($0)] }, count = frames.count
        let categories = frames.map { Optional(category($0)) }
        json.field(
            "stackTable",
            object: { json in
                json.field("length", tables.stacks.count)
                json.field("prefix", column: tables.stacks.map { $0.caller < 0 ? nil : Int($0.caller) })
                json.field("frame", column: tables.stacks.map { Int($0.frame) })
                json.field("category", column: tables.stacks.map { categories[Int($0.frame)] })
                json.field("subcategory", column: zeros(tables.stacks.count))
            })
        json.field(
            "frameTable",
            object: { json in
                json.field("length", count)
                json.field("address", column: [Int?](repeating: -1, count: count))
                json.field("inlineDepth", column: zeros(count))
                json.field("category", column: categories)
                json.field("subcategory", column: zeros(count))
                json.field("func", column: frames.indices.map { $0 })
                json.field("line", column: frames.map { $0.function.line.map(Int.init) })
                for column in ["nativeSymbol", "innerWindowID", "implementation", "column", "optimizations"] { json.field(column, column: nulls(count)) }
            })
        json.field(
            "funcTable",
            object: { json in
                json.field("length", count)
                json.field("name", column: tables.names.map { $0 })
                flags("isJS", count, &json)
                flags("relevantForJS", count, &json)
                json.field("resource", column: tables.resources.map { $0 })
                json.field("fileName", column: tables.files)
                for column in ["lineNumber", "columnNumber"] { json.field(column, column: nulls(count)) }
            })
        json.field(
            "resourceTable",
            object: { json in
                json.field("length", tables.libraries.count)
                json.field("lib", column: tables.libraries.map { $0.module })
                json.field("name", column: tables.libraries.map { $0.name })
                json.field("host", column: nulls(tables.libraries.count))
                // A library.
                json.field("type", column: [Int?](repeating: 1, count: tables.libraries.count))
            })
        json.field(
            "nativeSymbols",
            object: { json in
                json.field("length", 0)
                for column in ["libIndex", "address", "name", "functionSize"] { json.field(column, array: { _ in }) }
            })
        json.field("stringArray", array: { json in for text in tables.texts.strings { json.value(text) } })
    }

    /// The tables of a thread: what its samples need, numbered anew.
    private struct Tables {
        /// Of these frames, by place.
        private(set) var frames: [Int32] = []
        /// Callers and frames are places in these tables.
        private(set) var stacks: [Profile.Stack] = []
        private(set) var placeOfStack: [Int32: Int] = [:]
        private(set) var texts = StringTable()
        /// By place of the frame: numbers of texts, or of libraries.
        private(set) var names: [Int] = [], files: [Int?] = [], resources: [Int] = []
        private(set) var libraries: [(module: Int, name: Int)] = []

        init(_ samples: [LabelledStacks.Sample], _ all: LabelledStacks, _ profile: Profile) {
            var used = Set<Int32>()
            for sample in samples {
                var stack = sample.stack
                while stack >= 0, used.insert(stack).inserted { stack = all.stacks[Int(stack)].caller }
            }
            var placeOfFrame: [Int32: Int32] = [:], placeOfModule: [Int32: Int] = [:]
            // Callers have smaller numbers.
            for number in used.sorted() {
                let stack = all.stacks[Int(number)]
                if placeOfFrame[stack.frame] == nil {
                    placeOfFrame[stack.frame] = Int32(frames.count)
                    frames.append(stack.frame)
                    let frame = all.frames[Int(stack.frame)]
                    names.append(texts.number(frame.function.name))
                    files.append(frame.function.file.map { texts.number($0) })
                    if let module = frame.module, placeOfModule[module] == nil {
                        placeOfModule[module] = libraries.count
                        let path = profile.modules[Int(module)].module
                        libraries.append((Int(module), texts.number(path.split(separator: "/").last.map(String.init) ?? path)))
                    }
                    resources.append(frame.module.flatMap { placeOfModule[$0] } ?? -1)
                }
                let caller = stack.caller < 0 ? -1 : Int32(placeOfStack[stack.caller] ?? -1)
                placeOfStack[number] = stacks.count
                stacks.append(.init(caller: caller, frame: placeOfFrame[stack.frame] ?? 0))
            }
        }
    }
}
