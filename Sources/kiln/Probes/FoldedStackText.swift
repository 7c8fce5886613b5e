import KilnModel
import KilnSymbols

/// Stacks as folded text, one sorted line each: `root;outermost;...;innermost weight`. Off-CPU stacks have the state below their frames,
/// `(sleeping)`.
func foldedText(_ stacks: [NamedStack]) -> [UInt8] { foldedText(stacks.lazy.map { ($0.line(with: []), $0.weight) }) }

/// The same with what the thread worked on below the frames: `root;GET;exec;outermost;...;innermost weight`.
func foldedText(byCommand stacks: [NamedStack]) -> [UInt8] { foldedText(stacks.lazy.map { ($0.line(with: $0.work.foldedFrames), $0.weight) }) }

func foldedText(_ lines: some Sequence<(line: String, weight: UInt64)>) -> [UInt8] {
    var weights: [String: UInt64] = [:]
    for (line, weight) in lines where weight != 0 { weights[line, default: 0] += weight }
    return Array(weights.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)\n" }.joined().utf8)
}

extension NamedStack {
    /// Its line without the weight. `work`: frames between the root and the others.
    func line(with work: [String]) -> String {
        ([root] + work + (state.map { ["(\($0.name))"] } ?? []) + (frames.isEmpty ? [] : [frames])).joined(separator: ";")
    }
}

extension Work {
    /// `GET`, `exec`. No command has the name of another subject, or of another command's verdict: their names are in upper case, and hold no blanks.
    var foldedFrames: [String] {
        [foldedSafe(name + (verdict.map { " (\($0.rawValue))" } ?? ""))] + (phase.map { [$0.rawValue] } ?? [])
    }
}
