import Flamegraph
import Foundation
import KilnSessions
import PrintableText
import TestSupport
@testable import KilnProfiles

/// A session's files in memory.
struct MemoryFiles: SessionFiles {
    var place = "session"
    var texts: [String: String]

    func read(_ name: String, _ piece: (UnsafeRawBufferPointer) throws -> Void) throws -> Bool {
        guard let text = texts[name] else { return false }
        try Array(text.utf8).withUnsafeBytes(piece)
        return true
    }
}

/// A session that nobody recorded, and what is to be read back of it.
struct WrittenSession {
    struct Frame: Hashable {
        var text: String
        /// Index in `modules`.
        var module: Int?

        init(_ text: String, _ module: Int? = nil) { (self.text, self.module) = (text, module) }
    }

    struct Sample {
        var kind = "on-cpu"
        var process = "server"
        var thread, command, phase, verdict, state: String?
        /// [lower, upper) of a latency in nanoseconds.
        var band: [UInt64]?
        var frames: [Frame]
        /// From 1.
        var interval = 1
        var weight: UInt64

        /// As a line of folded stacks begins.
        func folded(_ roots: [String?]) -> String {
            let text = (roots.compactMap(\.self) + frames.map(\.text)).map(\.printable).joined(separator: ";")
            return text.hasPrefix("# ") ? "#_" + text.dropFirst(2) : text
        }
        var folded: String { folded([process, thread, state.map { "(\($0))" }]) }
    }

    var kinds = [("on-cpu", "samples"), ("off-cpu", "nanoseconds"), ("page-faults", "events")]
    var modules: [(path: String, buildID: String?)] = []
    var samples: [Sample]
    static let frequency: UInt64 = 100
    static let start: UInt64 = 1_796_040_000_000_000_000

    var files: MemoryFiles {
        func line(_ object: [String: Any?]) -> String {
            let present = object.compactMapValues(\.self)
            let data = (try? JSONSerialization.data(withJSONObject: present, options: [.sortedKeys, .withoutEscapingSlashes])) ?? Data()
            return String(decoding: data, as: UTF8.self) + "\n"
        }
        var frames: [Frame: Int] = [:], frameLines = ""
        var stacks: [[Int]: Int] = [:], stackLines = ""
        var groups: [String: Int] = [:], groupLines = ""
        var intervals: [Int: [[UInt64]]] = [:]
        for sample in samples {
            let group = line([
                "group": [
                    "kind": sample.kind, "process": sample.process, "thread": sample.thread, "command": sample.command, "phase": sample.phase,
                    "verdict": sample.verdict, "state": sample.state, "band_ns": sample.band,
                ].compactMapValues { $0 as Any? }
            ])
            if groups[group] == nil {
                groups[group] = groups.count
                groupLines += group
            }
            var path: [Int] = []
            for frame in sample.frames {
                if frames[frame] == nil {
                    frames[frame] = frames.count
                    frameLines += line(["frame": frame.text, "of": frame.module])
                }
                path.append(frames[frame] ?? 0)
                if stacks[path] == nil {
                    stackLines += line(["caller": stacks[Array(path.dropLast())] ?? -1, "in": path.last])
                    stacks[path] = stacks.count
                }
            }
            intervals[sample.interval, default: []].append([UInt64(groups[group] ?? 0), UInt64(stacks[path] ?? 0), sample.weight])
        }
        var text = line(["samples": 1, "slots_per_band": 8, "kinds": kinds.map { ["kind": $0.0, "unit": $0.1] }])
        for module in modules { text += line(["module": module.path, "build_id": module.buildID]) }
        text += frameLines + stackLines + groupLines
        for (interval, lists) in intervals.sorted(by: { $0.key < $1.key }) {
            text += line(["time": GeneratedSession.time(interval), "interval_s": 1, "samples": lists])
        }
        let record = """
            {"kiln":{"version":"1"},"kernel":"6.1","hook":"none","started":"2026-11-30T12:00:00.000Z","duration_s":10,"interval_s":1,"ended":"duration",
            "target":{"pid":7,"comm":"server","exe":"/usr/bin/server","ports":[]},"commands":{},"phases_unknown":{},"waits":[],"clients":{},
            "samples":{"on_cpu":{"frequency_hz":\(Self.frequency),"unit":"samples","recorded":0,"complete":0,"ends":{},"kernel_truncated":0}},"lost":{},
            "cost":{"own_cpu_s":0.1,"own_peak_rss_bytes":1048576,"target_cpu_s":1,"attach_s":0.1}}
            """
        return MemoryFiles(texts: ["session.json": record, "samples.jsonl": text])
    }

    func profile() throws -> Profile { try Profile(of: files, version: "test") }

    func profile(of kind: String) throws -> Profile {
        var profile = try profile()
        profile.series = profile.series.filter { $0.name == kind }
        return profile
    }

    func weight(of kind: String) -> UInt64 { samples.filter { $0.kind == kind }.reduce(0) { $0 + $1.weight } }

    /// The stacks of a kind as folded text has them.
    func folded(_ kind: String, by text: (Sample) -> String = \.folded) -> [String: UInt64] {
        samples.filter { $0.kind == kind }.reduce(into: [:]) { $0[text($1), default: 0] += $1.weight }
    }

    /// Everything that a session can have.
    static let full: WrittenSession = {
        var session = WrittenSession(samples: [])
        session.modules = [
            ("/usr/lib/libc.so.6", "93ac61ec5a8eb1396f9fbd350e3169a558528a40"), ("/usr/bin/server", "5545a6c7162d325fbe5ffabcbfe4e5521b66ce70"),
            ("/opt/old lib.so", nil), ("/opt/other.so", nil), ("/opt/<script>\"'\u{202e}\u{1b}[31m.so", "ab"),
        ]
        let main = Frame("main", 1), read = Frame("read", 0), kernel = Frame("vfs_read_[k]")
        let inlined = Frame("lookup (dict.c:12)_[i]", 1), line = Frame("get (dict.c:7)", 1), same = Frame("lookup (dict.c:12)", 1)
        func add(_ sample: Sample) { session.samples.append(sample) }
        for interval in 1...3 {
            add(Sample(frames: [main, read, kernel], interval: interval, weight: UInt64(interval)))
            add(Sample(thread: "io 1", frames: [main, read], interval: interval, weight: 5))
        }
        add(Sample(frames: [main, line, inlined], weight: 11))
        add(Sample(frames: [main, line, same], weight: 2))
        add(Sample(frames: [main, Frame("lookup (dict.c:12)", 1), Frame("lookup (dict.c:13)", 1)], weight: 3))
        // Names that differ in their mark, their module or their place only.
        for text in ["read", "read_[k]", "read_[j]", "read_[i]", "read [guess]", "read (a.c:1) [guess]", "read (a.c:1) (b.c:2)_[i]"] {
            add(Sample(frames: [main, Frame(text)], weight: 7))
        }
        for module in 0..<4 { add(Sample(frames: [main, Frame("init", module)], weight: UInt64(module + 1))) }
        add(Sample(process: "python3", frames: [Frame("_start", 1), Frame("py:handle (app.py:12)"), Frame("py:handle (app.py:13)")], weight: 13))
        add(Sample(process: "node", frames: [Frame("Interpreter"), Frame("work app.js:3_[j]")], weight: 17))
        add(Sample(frames: [Frame("[exiting]"), Frame("do_exit_[k]")], weight: 1))
        add(Sample(process: "other", frames: [Frame("only")], weight: 1))
        for name in hostileNames {
            add(Sample(process: name, thread: name, frames: [Frame(name), Frame(name + "_[k]"), Frame("f", 4)], interval: 2, weight: 19))
        }
        for (command, phase, verdict) in [
            ("GET", "exec", "slow"), ("GET", "exec", "fast"), ("GET", "reply", nil), ("[other]", nil, nil), ("ZADD", "read", nil),
        ] as [(String, String?, String?)] {
            for band in [[0, 8], [1024, 1536], nil] as [[UInt64]?] {
                add(Sample(command: command, phase: phase, verdict: verdict, band: band, frames: [main, Frame(command, 1)], interval: 4, weight: 23))
            }
        }
        for (state, weight) in [("sleeping", 9_000_000_000), ("runnable", 12_345), ("uninterruptible", 1)] as [(String, UInt64)] {
            for interval in 1...2 {
                add(Sample(kind: "off-cpu", state: state, frames: [main, read, kernel], interval: interval, weight: weight))
                add(Sample(kind: "off-cpu", thread: "io 1", state: state, frames: [main], interval: interval, weight: weight + 1))
            }
        }
        add(Sample(kind: "page-faults", frames: [main, Frame("memcpy", 0)], interval: 3, weight: 29))
        return session
    }()

    static let hostileNames = [
        "<script>alert(1)</script>", "</script><!--", "a\"b'c\\d`e", "\u{202e}txt.exe", "\u{1b}]0:owned\u{7}\u{1b}[2J", "name 123", "name ", " name", "12",
        "é漢字😀", "tab\tnew\nline\r", "# comment", "_[k]", "a=b,c={}", String(repeating: "x", count: 10_000), "[kernel", "\u{0}", "%s%n",
    ]
}

/// Folded text as stacks and weights, without its comments.
func stacks(ofFolded text: [UInt8]) -> [String: UInt64] {
    var stacks: [String: UInt64] = [:]
    for line in String(decoding: text, as: UTF8.self).split(separator: "\n") where !line.hasPrefix("# ") {
        guard let blank = line.lastIndex(of: " "), let weight = UInt64(line[line.index(after: blank)...]) else { continue }
        stacks[String(line[..<blank]), default: 0] += weight
    }
    return stacks
}

/// What a format's reader makes of a file.
struct Collapsed {
    var stacks: [String: UInt64] = [:]
    var measure: Measure
    var report: CollapseReport
    var failure: String? { report.unreadableInputs.first?.reason }

    init(_ format: CollapseFormat, _ file: [UInt8], _ change: (inout CollapseOptions) -> Void = { _ in }) throws {
        var options = CollapseOptions()
        (options.marksKernel, options.marksJIT, options.marksInlined, options.showsLines) = (true, true, true, true)
        change(&options)
        let collapser = format.collapser(options, nil)
        // In pieces, as files are read.
        for start in stride(from: 0, to: file.count, by: 1000) { file[start..<min(start + 1000, file.count)].withUnsafeBytes(collapser.read) }
        collapser.endInput()
        collapser.finish()
        var text: [UInt8] = []
        try collapser.writeFolded { text += $0 }
        (measure, report) = (collapser.measure, collapser.report)
        stacks = KilnProfilesTests.stacks(ofFolded: text)
    }
}
