import Flamegraph
import KilnModel

/// The flamegraph of a session's stacks, with the main numbers of its record.
///
/// - Parameter byCommand: The stacks by command, for a picture whose reader can choose one.
func sessionPicture(_ folded: [UInt8], _ kind: StackKind, _ record: SessionRecord, byCommand: [UInt8]? = nil) -> [UInt8] {
    let target = record.target, samples = record.samples.onCPU
    let place = target.port.map { " · port \($0)" } ?? ""
    let process = target.pid == 0 ? "" : "pid \(target.pid)\(place) · "
    let expected = samples.expected.map { " of \($0) expected" } ?? ""
    let others = samples.descendants.map { ", \($0.recorded) of descendants" } ?? ""
    let lost =
        record.lost.isEmpty
        ? "lost: nothing" : "lost: " + record.lost.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }.joined(separator: ", ")
    let what: (name: String, unit: String, rate: String, counts: String)
    switch kind {
    case .onCPU:
        what = (
            "on-CPU", "samples", " at \(samples.frequencyHz) Hz",
            "\(samples.recorded)\(expected) samples recorded\(others); \(samples.complete) stacks complete"
        )
    case .offCPU: what = ("off-CPU", "nanoseconds", "", record.samples.offCPU.map(waitNote) ?? "")
    case .waker: what = ("off-CPU, and who ended it", "nanoseconds", "", record.samples.offCPU?.wakers.map(wakerNote) ?? "")
    case .event(let index):
        let event = record.samples.events?[index]
        let unit = event?.unit == RecordedEvent.Unit.nanoseconds.rawValue ? "nanoseconds" : event?.event ?? ""
        what = (event?.event ?? "", unit, "", event.map(eventNote) ?? "")
    }
    var options = FlamegraphOptions(
        title: "\(target.comm) · \(what.name)",
        subtitle: "\(process)\(record.started) · \(significantSeconds(record.durationS))\(what.rate)",
        countName: what.unit,
        notes: (record.costLimit?.steps ?? []).map { "after \(significantSeconds($0.afterS)): \($0.step)" } + [
            "kiln \(record.kiln.version), Linux \(record.kernel)" + (record.hook == "none" ? "" : ", hook \(record.hook)"),
            "\(what.counts); \(lost)",
        ]
    )
    if let byCommand {
        var reading = FoldedReading()
        reading.commands = .areKeptApart
        let stacks = FoldedStacks(parsing: byCommand, reading)
        options.callsByCommand = Dictionary(record.commands.map { ($0.key.uppercased(), $0.value.count) }, uniquingKeysWith: +)
        if stacks.haveCommands { return renderSVG(stacks, options) }
    }
    return renderSVG(FoldedStacks(parsing: folded), options)
}

private func eventNote(_ event: SessionRecord.Event) -> String {
    let every = event.every == 1 ? "" : ", one stack for every \(event.every)"
    let count = event.unit == RecordedEvent.Unit.nanoseconds.rawValue ? "\(Nanoseconds(event.count))" : "\(event.count) events"
    return "\(count)\(every); \(event.recorded) stacks recorded, \(event.complete) complete"
}

private func wakerNote(_ wakers: SessionRecord.OffCPU.Wakers) -> String {
    "the wakers of \(wakers.recorded) waits, \(wakers.complete) of their stacks complete; those of idle waits are drawn with --idle"
}

private func waitNote(_ waits: SessionRecord.OffCPU) -> String {
    "\(waits.recorded) waits, \(waits.complete) stacks complete; \(Nanoseconds(waits.idleNs)) of idle time, drawn with --idle"
}
