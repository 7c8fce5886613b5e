import Flamegraph
import KilnModel

/// The flamegraph of a session's stacks, with the main numbers of its record.
func sessionPicture(_ folded: [UInt8], _ record: SessionRecord) -> [UInt8] {
    let target = record.target, samples = record.samples.onCPU
    let place = target.port.map { " · port \($0)" } ?? ""
    let process = target.pid == 0 ? "" : "pid \(target.pid)\(place) · "
    let expected = samples.expected.map { " of \($0) expected" } ?? ""
    let others = samples.descendants.map { ", \($0.recorded) of descendants" } ?? ""
    let lost = record.lost.isEmpty
        ? "lost: nothing" : "lost: " + record.lost.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }.joined(separator: ", ")
    return renderSVG(FoldedStacks(parsing: folded), FlamegraphOptions(
        title: "\(target.comm) · on-CPU",
        subtitle: "\(process)\(record.started) · \(significantSeconds(record.durationS)) at \(samples.frequencyHz) Hz",
        countName: "samples",
        notes: (record.costLimit?.steps ?? []).map { "after \(significantSeconds($0.afterS)): \($0.step)" } + [
            "kiln \(record.kiln.version), Linux \(record.kernel)" + (record.hook == "none" ? "" : ", hook \(record.hook)"),
            "\(samples.recorded)\(expected) samples recorded\(others); \(samples.complete) stacks complete; \(lost)",
        ]
    ))
}
