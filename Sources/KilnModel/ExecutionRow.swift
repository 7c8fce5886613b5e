/// A line of `kiln trace exec`. Names carry their unit. Fields are added, never renamed.
public struct ExecutionRow: Codable, Sendable, Equatable {
    /// When the program began, or the call that failed returned; RFC 3339.
    public var time: String
    public var pid: Int32
    /// The thread that made the call.
    public var tid: Int32
    public var ppid: Int32
    public var uid: UInt32
    /// The user's name; absent if it has none.
    public var user: String?
    public var commBefore: String?
    public var comm: String
    /// The path that was asked for.
    public var file: String?
    /// The program that runs a script.
    public var interpreter: String?
    /// The arguments of the program, its own name first; for a script, the arguments of the script.
    public var arguments: [String]
    /// Some bytes of file or arguments are no text and stand as \xHH.
    public var escaped: Bool
    /// The last of `arguments` is cut.
    public var cut: Bool
    /// Some arguments could not be read, because their pages were never used.
    public var unreadable: Bool
    /// Arguments behind those; absent if it is not known how many.
    public var argumentsMissing: Int?
    /// Bytes of arguments that are missing, each with its end; absent if it is not known how many.
    public var argumentBytesMissing: UInt64?
    /// The name of the error; absent: the program was executed.
    public var error: String?
    /// exited, killed, executed (another program), running (when the session ended), or unknown; absent if the execution failed, or with --now.
    public var end: String?
    public var exitStatus: Int32?
    public var signal: String?
    public var coreDumped: Bool?
    public var ranNs: UInt64?
    /// The words of the program in bytes: text that was escaped for JSON is not escaped again for people. Nil in a row that was read from JSON.
    private var words: ProgramWords?

    enum CodingKeys: String, CodingKey {
        case time, pid, tid, ppid, uid, user, comm, file, interpreter, arguments, escaped, cut, unreadable, error, end, signal
        case commBefore = "comm_before", argumentsMissing = "arguments_missing", argumentBytesMissing = "argument_bytes_missing"
        case exitStatus = "exit_status", coreDumped = "core_dumped", ranNs = "ran_ns"
    }

    /// How a program ended, and how long it had run.
    public struct Ending: Sendable {
        public var end: ProgramEnd
        public var ran: Nanoseconds?

        public init(_ end: ProgramEnd, ran: Nanoseconds?) {
            self.end = end
            self.ran = ran
        }
    }

    /// `user`: its name.
    public init(_ program: ExecutedProgram, time: String, user: String?, ending: Ending?) {
        self.time = time
        pid = program.pid
        tid = program.tid
        ppid = program.parent
        uid = program.user
        self.user = user
        commBefore = program.commBefore
        comm = program.comm
        let given = program.argumentsOfScript
        escaped = ([program.file, program.interpreter].compactMap(\.self) + given).contains { String(validating: $0, as: UTF8.self) == nil }
        file = program.file.map(text)
        interpreter = program.interpreter.map(text)
        arguments = given.map(text)
        cut = program.lastArgumentIsCut
        unreadable = program.argumentsAreUnreadable
        argumentsMissing = program.argumentCount.map { max(0, $0 - program.arguments.count) }
        let captured = program.arguments.reduce(0) { $0 + UInt64($1.count) + 1 } - (cut ? 1 : 0)
        argumentBytesMissing = program.argumentBytes.map { $0 > captured ? $0 - captured : 0 }
        words = ProgramWords(file: program.file, interpreter: program.interpreter, arguments: given)
        guard program.error == 0 else {
            error = errnoName(Int(program.error))
            return
        }
        guard let ending else { return }
        ranNs = ending.ran?.count
        switch ending.end {
        case .exited(let status):
            end = "exited"
            exitStatus = status
        case .killed(let number, let dumpedCore):
            end = "killed"
            signal = signalName(number)
            coreDumped = dumpedCore
        case .replaced: end = "executed"
        case .running: end = "running"
        case .unknown: end = "unknown"
        }
    }
}

private struct ProgramWords: Equatable {
    let file: [UInt8]?
    let interpreter: [UInt8]?
    let arguments: [[UInt8]]
}

extension String {
    fileprivate var bytes: [UInt8] { Array(utf8) }
}

/// Bytes that are no text in a form that is.
private func text(_ bytes: [UInt8]) -> String {
    if let text = String(validating: bytes, as: UTF8.self) { return text }
    let shown = shownText(bytes)
    return shown.hasPrefix("\"") ? String(shown.dropFirst().dropLast()) : shown
}

extension ExecutedProgram {
    /// The kernel puts a script's interpreter, and an argument for it, before the script's path.
    fileprivate var argumentsOfScript: [[UInt8]] {
        guard interpreter != nil, let file, let own = arguments.firstIndex(of: file) else { return arguments }
        return Array(arguments[own...])
    }
}

extension ExecutionRow {
    /// Everything except the time.
    public var line: String {
        let who = "pid \(pid)" + (tid == pid ? "" : " tid \(tid)") + " ppid \(ppid) \(user ?? "uid \(uid)")"
        let names = error != nil ? comm : "\(commBefore ?? "?") -> \(comm)"
        return "\(who) \(names): \(call)" + (outcome.isEmpty ? "" : " | \(outcome)")
    }

    /// The path, and the arguments behind the program's own name, which is shown where it is another one.
    private var call: String {
        let words = words ?? ProgramWords(file: file?.bytes, interpreter: interpreter?.bytes, arguments: arguments.map(\.bytes))
        var shown: [String] = [words.file.map { shownText($0) } ?? "(path not readable)"]
        if let own = words.arguments.first, let file = words.file, own != file, own[...] != file.split(separator: UInt8(ascii: "/")).last {
            shown.append("(as \(shownText(own)))")
        }
        shown += words.arguments.dropFirst().map { shownText($0) }
        if let missing { shown.append(missing) }
        if let interpreter = words.interpreter { shown.append("(run by \(shownText(interpreter)))") }
        return shown.joined(separator: " ")
    }

    private var missing: String? {
        if unreadable { return "...(arguments not readable)" }
        let bytes = argumentBytesMissing.map { "\($0) bytes" }
        switch argumentsMissing {
        case nil: return "...(more arguments)"
        case 0?: return cut ? "...(\(bytes ?? "more"))" : nil
        case let count?: return "...(\(cut ? "the rest of this, and " : "")\(count) more argument\(count == 1 ? "" : "s")\(bytes.map { ", \($0)" } ?? ""))"
        }
    }

    private var outcome: String {
        if let error { return error }
        let after = ranNs.map { " after \(Nanoseconds($0))" } ?? ""
        switch end {
        case nil: return ""
        case "exited"?: return "exit status \(exitStatus ?? 0)\(after)"
        case "killed"?: return "killed by \(signal ?? "a signal")\(coreDumped == true ? " (core dumped)" : "")\(after)"
        case "executed"?: return "executed another program\(after)"
        case "running"?: return "still running\(after)"
        default: return "its end was lost"
        }
    }
}

/// The last JSON line of `kiln trace exec` and `kiln trace syscalls`, recognizable by its only key. Fields are added, never renamed.
public struct EventTraceEnd: Codable, Sendable, Equatable {
    public struct Summary: Codable, Sendable, Equatable {
        public var durationS: Double
        /// The number of lines before this one.
        public var lines: UInt64
        /// By name.
        public var lost: [String: UInt64]

        enum CodingKeys: String, CodingKey {
            case durationS = "duration_s", lines, lost
        }
    }

    public var summary: Summary

    public init(durationS: Double, lines: UInt64, lost: [String: UInt64]) { summary = Summary(durationS: durationS, lines: lines, lost: lost) }
}
