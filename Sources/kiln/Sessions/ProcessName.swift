import KilnTargets

/// The name of a watched process, which changes when it executes another program.
final class ProcessName {
    /// The name when the session began.
    let atStart: String
    private(set) var comm: String
    private(set) var exe: String?
    /// Stays with this process: reads fail after it has ended, even if its pid is in use again. Nil if the process can't be read.
    private let process: ProcessDirectory?

    init(pid: Int32, comm: String, exe: String? = nil) {
        atStart = comm
        self.comm = comm
        self.exe = exe
        process = try? ProcFS().process(pid)
    }

    /// Reads the name again. The last name of a process that has ended stays.
    func refresh() {
        guard let now = try? process?.comm() else { return }
        comm = now
        exe = (try? process?.exe()) ?? exe
    }

    /// Nil if the name has not changed.
    var formerComm: String? { atStart == comm ? nil : atStart }
}
