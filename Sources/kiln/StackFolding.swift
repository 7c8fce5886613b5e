import Flamegraph
import KilnKernel
import KilnModel
import KilnSymbols

/// Names for the addresses of a session's stacks.
final class StackFolding {
    private let kernel = KernelSymbolizer()
    /// By target; nil where the process could not be read.
    private var processes: [Symbolizer?]
    private let demangling: Bool

    /// Opens the mapped files now: names are still found after a process has ended.
    /// `expandsInlined`: inlined functions are frames too. `demangling`: names as in their source.
    init(pids: [Int32], expandsInlined: Bool = false, demangling: Bool = true) {
        let store = SymbolStore(expandsInlined: expandsInlined)
        processes = pids.map { try? Symbolizer(pid: $0, sharing: store) }
        self.demangling = demangling
    }

    /// Learn what a target has mapped since; its code now, for the unwinder. Nothing of a process that is gone.
    func mappings(ofProcess process: Int) -> [CodeMapping] {
        guard let symbolizer = processes[process] else { return [] }
        _ = try? symbolizer.refresh()
        return symbolizer.codeMappings()
    }

    /// The stacks of one target as folded text: `comm;outermost;...;innermost count`, a line each, sorted.
    /// Behind `comm` stands the thread's name, where it is known. A stack that isn't whole begins with why: `comm;[no_row];...`.
    func folded(_ table: StackTable, process: Int, comm: String) -> (text: [UInt8], names: NamesRecord) {
        var user = KnownFrames(), kernel = KnownFrames()
        var lines: [String: UInt64] = [:]
        let root = foldedSafe(comm)
        for (frames, samples) in table.stacks(ofProcess: process) {
            var stack = [root]
            if let thread = frames.thread { stack.append(foldedSafe(thread)) }
            // What is missing below must not look like the outermost function.
            if frames.end != .complete { stack.append("[\(frames.end.name)]") }
            for frame in located(frames.user, interrupted: frames.interrupted).reversed() {
                stack.append(user.text(of: frame, samples) { named($0, process) })
            }
            for frame in located(frames.kernel).reversed() {
                stack.append(kernel.text(of: frame, samples) { named([self.kernel.symbolize($0)], in: .kernel) })
            }
            lines[stack.joined(separator: ";"), default: 0] += samples
        }
        let text = Array(lines.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)\n" }.joined().utf8)
        let unnamed = user.unnamed.merging(kernel.unnamed, uniquingKeysWith: +)
        return (text, NamesRecord(named: user.named + kernel.named, unnamed: unnamed))
    }

    /// The innermost address is where the code was, and so is one that a signal interrupted; the others are where calls
    /// return to.
    private func located(_ addresses: [UInt64], interrupted: [Int] = []) -> [FrameAddress] {
        addresses.enumerated().map { $0 == 0 || interrupted.contains($0) ? .instructionPointer($1) : .returnAddress($1) }
    }

    private func named(_ frame: FrameAddress, _ process: Int) -> KnownFrames.Frame {
        guard let symbolizer = processes[process] else {
            return .init(text: "[unknown]", unnamed: .init(module: nil, reason: "the process could not be read"))
        }
        return named(symbolizer.frames(frame), in: .user)
    }

    private func named(_ symbols: [Symbol], in space: FrameSpace) -> KnownFrames.Frame {
        KnownFrames.Frame(
            text: symbols.map { $0.foldedFrame(in: space, demangling: demangling) }.joined(separator: ";"),
            unnamed: symbols.first?.unnamed.map { .init(module: $0.module, reason: $0.reason.description) }
        )
    }
}

/// The frames of a session that have been looked up, and how often each outcome occurred.
private struct KnownFrames {
    struct Frame {
        /// As in a folded stack; more than one frame where functions were inlined.
        let text: String
        /// Nil where the frame has a name.
        let unnamed: NamesRecord.Cause?
    }

    private var frames: [FrameAddress: Frame] = [:]
    private(set) var named: UInt64 = 0
    private(set) var unnamed: [NamesRecord.Cause: UInt64] = [:]

    mutating func text(of address: FrameAddress, _ samples: UInt64, lookingUp look: (FrameAddress) -> Frame) -> String {
        let frame = frames[address] ?? look(address)
        frames[address] = frame
        if let cause = frame.unnamed { unnamed[cause, default: 0] += samples } else { named += samples }
        return frame.text
    }
}
