import KilnTargets

/// What a watched process is called: it may execute another program meanwhile.
final class ProcessName {
    /// As it was called, and what it executed, when the session began.
    let atStart: String
    private(set) var comm: String
    private(set) var exe: String?
    /// Means this very process: its reads fail when it has ended, even if its pid is in use again. nil: it can't be read.
    private let process: ProcessDirectory?

    init(pid: Int32, comm: String, exe: String? = nil) {
        atStart = comm
        self.comm = comm
        self.exe = exe
        process = try? ProcFS().process(pid)
    }

    /// Look again; of a process that has ended the last name stands.
    func refresh() {
        guard let now = try? process?.comm() else { return }
        comm = now
        exe = (try? process?.exe()) ?? exe
    }

    /// nil: as it is called now.
    var formerComm: String? { atStart == comm ? nil : atStart }
}
