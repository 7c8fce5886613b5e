/// The final output of `kiln record`: the number of samples by process, the losses, and the session's files.
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
