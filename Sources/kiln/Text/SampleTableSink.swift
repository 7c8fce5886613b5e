/// What `kiln record` prints at its end: how many samples of which process, what was lost, and which files hold the session.
struct SampleTableSink: Sink {
    let directory: DirectorySink

    func end(_ result: SessionResult) throws {
        var lines: [Line] = []
        for record in result.records {
            let text = SessionText(record), target = record.target
            if let former = target.commAtStart {
                lines += ["pid \(target.pid) executes \(target.comm) now; it was \(former) when the session began"]
            }
            lines += text.sampleLines
            lines += text.losses
        }
        try Output.standardOutput.write(lines + directory.wroteLines)
    }
}
