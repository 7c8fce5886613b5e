import Foundation
import Glibc
import KilnTargets
import TestSupport

/// A program of a test, compiled and running; ended with the value.
final class Program {
    /// What compiles, and how its files' names end.
    enum Language: String {
        case c, cc, swift, go, musl

        var compiler: [String] {
            switch self {
            case .c: ["cc"]
            case .cc: ["c++"]
            case .swift: ["swiftc"]
            case .go: ["go", "build"]
            case .musl: ["musl-gcc"]
            }
        }

        var canCompile: Bool {
            (try? Child(compiler[0], [self == .go ? "version" : "--version"]).wait()) == 0
        }
    }

    let directory = temporaryDirectory()
    private let child: Child

    static let canCompile = Language.c.canCompile

    /// `library`, if given, becomes `library.so` beside the program, or several files with options of their own; the program
    /// gets the directory as its argument. `linked` stands behind the source. `prepare` is called with the directory before it starts, and returns what starts it.
    init(
        _ source: String, _ options: [String] = ["-O2", "-fomit-frame-pointer"], in language: Language = .c, library: String? = nil,
        named libraries: [(name: String, options: [String])] = [("library.so", [])], linked: [String] = [],
        prepare: (String) throws -> [String] = { [$0 + "/program", $0] }
    ) throws {
        try Self.compile(source, options, language, linked, to: directory + "/program")
        for (name, own) in libraries where library != nil {
            try Self.compile(library ?? "", options + own + ["-shared", "-fPIC"], .c, [], to: "\(directory)/\(name)")
        }
        let command = try prepare(directory)
        child = try Child(command[0], Array(command.dropFirst()))
    }

    deinit { try? FileManager.default.removeItem(atPath: directory) }

    var pid: Int32 { child.pid }

    /// Its exit status, as `Child.wait`.
    func wait() -> Int32 { child.wait() }

    func signal(_ number: Int32) { kill(pid, number) }

    private static func compile(_ source: String, _ options: [String], _ language: Language, _ linked: [String], to path: String) throws {
        let file = "\(path).\(language == .musl ? "c" : language.rawValue)", errors = path + ".errors"
        try source.write(toFile: file, atomically: true, encoding: .utf8)
        let environment = ["GO111MODULE=off", "CGO_ENABLED=\(source.contains("import \"C\"") ? 1 : 0)", "GOCACHE=\(path).cache"]
        let arguments = language.compiler + options + ["-o", path, file] + linked + (language == .c ? ["-ldl"] : [])
        guard try Child("env", environment + arguments, errors: errors).wait() == 0 else {
            throw TestFailure("\(language.compiler.first ?? "") failed: \((try? String(contentsOfFile: errors, encoding: .utf8)) ?? "")")
        }
    }
}

/// Folded text as stacks: frames from the outermost, the program's name first.
struct Stacks {
    let lines: [(frames: [String], samples: UInt64)]

    init(_ folded: String) {
        lines = folded.split(separator: "\n").compactMap { line in
            guard let space = line.lastIndex(of: " "), let samples = UInt64(line[line.index(after: space)...]) else { return nil }
            return (line[..<space].split(separator: ";").map(String.init), samples)
        }
    }

    /// Samples of the stacks in which these frames come in this order, others between them or not.
    func samples(through chain: String...) -> UInt64 { samples(throughAll: chain) }

    func samples(throughAll chain: [String]) -> UInt64 {
        lines.filter { line in
            var rest = chain[...]
            for frame in line.frames where frame == rest.first { rest.removeFirst() }
            return rest.isEmpty
        }.reduce(0) { $0 + $1.samples }
    }
}

extension Session {
    var stacks: Stacks { Stacks(folded) }

    /// Of the recorded samples, those whose stack is whole.
    var wholeShare: Double {
        let samples = record.samples.onCPU
        return Double(samples.complete) / Double(max(samples.recorded, 1))
    }

    /// What `kiln record` makes of a process. Without `load`, while it works for 1.5 s.
    static func sampling(
        pid: Int32, frequency: Int = 499, _ arguments: [String] = [], during load: (() throws -> Void)? = nil
    ) throws -> Session {
        try sampling(["-p", "\(pid)", "-F", "\(frequency)"] + arguments, during: load ?? { try letWork(pid, seconds: 1.5) })
    }

    /// What `kiln record` makes of what its arguments name; without `load`, until it ends by itself.
    static func sampling(_ arguments: [String], during load: (() throws -> Void)? = nil) throws -> Session {
        let directory = temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let kiln = try KilnRun(["-o", directory + "/session"] + arguments, subcommand: "record")
        guard kiln.attached() else { throw TestFailure("kiln did not attach: \(kiln.errorText)") }
        try load?()
        let status = load == nil ? kiln.wait() : kiln.stop()
        guard status == 0 else { throw TestFailure("kiln ended with \(status): \(kiln.errorText)") }
        return try Session(directory: directory + "/session", output: kiln.outputText)
    }
}

/// Wait until a process has had so much more CPU time: how many samples there are depends on that, not on the time of day.
func letWork(_ pid: Int32, seconds: Double) throws {
    let clock = try ProcessCPUClock(pid: pid)
    let enough = try clock.nanoseconds() + UInt64(seconds * 1e9)
    guard eventually(within: 120, { (try? clock.nanoseconds()).map { $0 >= enough } ?? true }) else {
        throw TestFailure("pid \(pid) got less than \(seconds) s of CPU time in two minutes")
    }
}
