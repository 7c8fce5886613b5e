import Flamegraph
import KilnModel

/// The flamegraph of a session's stacks, with the main numbers of its record.
func sessionPicture(_ folded: [UInt8], _ kind: StackKind, _ record: SessionRecord) -> [UInt8] {
    let target = record.target, samples = record.samples.onCPU
    let place = target.port.map { " · port \($0)" } ?? ""
    let process = target.pid == 0 ? "" : "pid \(target.pid)\(place) · "
    let expected = samples.expected.map { " of \($0) expected" } ?? ""
    let others = samples.descendants.map { ", \($0.recorded) of descendants" } ?? ""
    let lost =
        record.lost.isEmpty
        ? "lost: nothing" : "lost: " + record.lost.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }.joined(separator: ", ")
    let rate = kind == .onCPU ? " at \(samples.frequencyHz) Hz" : ""
    let counts =
        kind == .onCPU
        ? "\(samples.recorded)\(expected) samples recorded\(others); \(samples.complete) stacks complete"
        : record.samples.offCPU.map(waitNote) ?? ""
    return renderSVG(
        FoldedStacks(parsing: folded),
        FlamegraphOptions(
            title: "\(target.comm) · \(kind.title)",
            subtitle: "\(process)\(record.started) · \(significantSeconds(record.durationS))\(rate)",
            countName: kind == .onCPU ? "samples" : "ns",
            notes: (record.costLimit?.steps ?? []).map { "after \(significantSeconds($0.afterS)): \($0.step)" } + [
                "kiln \(record.kiln.version), Linux \(record.kernel)" + (record.hook == "none" ? "" : ", hook \(record.hook)"),
                "\(counts); \(lost)",
            ]
        ))
}

extension StackKind {
    fileprivate var title: String {
        switch self {
        case .onCPU: "on-CPU"
        case .offCPU: "off-CPU"
        case .waker: "off-CPU, and who ended it"
        }
    }
}

private func waitNote(_ waits: SessionRecord.OffCPU) -> String {
    "\(waits.recorded) waits, \(waits.complete) stacks complete; \(Nanoseconds(waits.idleNs)) of idle time is in no frame unless --idle was given"
}
