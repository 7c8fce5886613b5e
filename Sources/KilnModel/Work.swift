import KilnBPF

/// What a thread of a server works on: the label of a stack, decoded (`kiln_work.h`).
public struct Work: Hashable, Sendable {
    public enum Subject: Hashable, Sendable {
        case command(CommandName)
        /// Different commands of one receive, whose work can't be told apart.
        case pipeline
        /// Waiting for events, timers.
        case eventLoop
        /// Threads that neither receive nor send requests, and processes that the server started.
        case background
        /// By the name of the reason (`KILN_UNKNOWN_WORK`).
        case unknown(reason: String)
        /// The stack has no label.
        case unlabelled
    }

    /// Where only some calls' stacks are kept: what has been decided of the call.
    public enum Verdict: String, Sendable { case slow, fast }

    public var subject: Subject
    /// Nil unless the subject is a command or a pipeline.
    public var phase: WorkPhase?
    /// Nil where every stack is kept.
    public var verdict: Verdict?

    public init(_ subject: Subject, _ phase: WorkPhase? = nil, _ verdict: Verdict? = nil) {
        self.subject = subject
        self.phase = phase
        self.verdict = verdict
    }

    /// The command's name, or in brackets what else it is.
    public var name: String {
        switch subject {
        case .command(let name): name.description
        case .pipeline: "[pipeline]"
        case .eventLoop: "[event loop]"
        case .background: "[background]"
        case .unknown(let reason): "[unknown: \(reason)]"
        case .unlabelled: "[unlabelled]"
        }
    }

    /// `names`: the commands by their rows; one without a name is `other`.
    public init(label: Int, names: [Int: CommandName]) {
        func field(_ shift: Int32, values: Int32) -> Int { label >> Int(shift) & Int(values - 1) }
        let activity = field(KILN_LABEL_ACTIVITY_SHIFT, values: KILN_LABEL_ACTIVITIES)
        let row = field(KILN_LABEL_ROW_SHIFT, values: KILN_LABEL_ROWS)
        let subject: Subject = row == Int(KILN_LABEL_SEVERAL) ? .pipeline : .command(names[row] ?? .other)
        switch kiln_activity(rawValue: UInt32(activity)) {
        case KILN_ACTIVITY_EXEC: self.init(subject, .exec)
        case KILN_ACTIVITY_REPLY: self.init(subject, .reply)
        case KILN_ACTIVITY_READ: self.init(subject, .read)
        case KILN_ACTIVITY_LOOP: self.init(.eventLoop)
        case KILN_ACTIVITY_BACKGROUND: self.init(.background)
        case KILN_ACTIVITY_UNKNOWN where Self.unknownReasons.indices.contains(row): self.init(.unknown(reason: Self.unknownReasons[row].name))
        default: self.init(.unlabelled)
        }
        switch kiln_verdict(rawValue: UInt32(label >> Int(KILN_LABEL_VERDICT_SHIFT) & 3)) {
        case KILN_VERDICT_SLOW: verdict = .slow
        case KILN_VERDICT_FAST: verdict = .fast
        default: break
        }
    }

    /// Why it may be unknown what a thread works on, in the order of `enum kiln_unknown_work`.
    private static let unknownReasons = (0..<KILN_UNKNOWN_WORK_COUNT.rawValue).map { reason in
        let described = kiln_describe_unknown_work(reason)
        return (name: String(cString: described.name), meaning: String(cString: described.meaning))
    }

    /// What a reason means; nil for one of another version.
    public static func meaning(ofReason name: String) -> String? { unknownReasons.first { $0.name == name }?.meaning }
}

/// What a thread does for a command. The names are those in the files.
public enum WorkPhase: String, CaseIterable, Sendable {
    /// Executes it: from its receive to the thread's next receive or send.
    case exec
    /// Sends its reply.
    case reply
    /// Receives its request.
    case read
}
