import KilnBPF
import KilnModel
import KilnSymbols

/// Python's frames in a stack: one call of the interpreter's function runs any number of them.
struct PythonFrames {
    /// Of each call the names of its frames. Both lists begin with the innermost.
    private var calls: [[FoldedFrame]] = [[]]
    /// Outer frames could not be read.
    private var isCut = false

    static let cutMark = "[python_frames_cut]"
    static let placeMark = "[python_place_unknown]"

    /// `frames`: as the kernel side sends them.
    init(_ frames: [UInt64], named name: (UInt64) -> String) {
        for frame in frames {
            if frame == UInt64(KILN_PYTHON_CUT) {
                isCut = true
                break
            }
            if frame != KILN_PYTHON_ENTRY { calls[calls.count - 1].append(FoldedFrame(name(frame))) }
            if frame & KILN_PYTHON_ENTRY != 0 { calls.append([]) }
        }
        if calls.last?.isEmpty == true { calls.removeLast() }
    }

    /// A stack with these frames in the places of the interpreter's own. `native`: the frames of the machine's stack, the innermost first. `isWhole`: none is
    /// missing at the outer end.
    func placed(in native: [FoldedFrame], isWhole: Bool) -> [FoldedFrame] {
        let interpreter = native.indices.filter { Self.isInterpreter(native[$0]) }
        // If nothing is missing at the outer end, both end with the same call; the innermost one may have no frame yet.
        let withoutFrame = isWhole && !isCut ? interpreter.count - calls.count : 0
        var call = -withoutFrame
        var result: [FoldedFrame] = []
        for (index, frame) in native.enumerated() {
            guard Self.isInterpreter(frame) else {
                if !Self.isTrampoline(frame) { result.append(frame) }
                continue
            }
            // The interpreter's function was not recognized in some place: the innermost calls are put here.
            if index == interpreter.first, call > 0 { result += calls[..<call].joined() + [FoldedFrame(Self.placeMark)] }
            defer { call += 1 }
            guard calls.indices.contains(call), !calls[call].isEmpty else {
                result.append(frame)
                continue
            }
            if let inlined = frame.text.firstIndex(of: ";") {
                result.append(FoldedFrame(String(frame.text[frame.text.index(after: inlined)...]), module: frame.module))
            }
            result += calls[call]
            if isCut, call == calls.count - 1 { result.append(FoldedFrame(Self.cutMark)) }
        }
        // Beyond the outer end of what was unwound, or without any interpreter's function.
        let rest = interpreter.isEmpty ? 0 : max(call, 0)
        if rest < calls.count { result += (isWhole ? [FoldedFrame(Self.placeMark)] : []) + calls[rest...].joined() }
        if isCut, rest < calls.count || calls.isEmpty { result.append(FoldedFrame(Self.cutMark)) }
        return result
    }

    /// What a Python with -X perf calls each function by, under its name.
    private static func isTrampoline(_ frame: FoldedFrame) -> Bool { frame.text.hasPrefix("py::") && frame.text.hasSuffix("_[j]") }

    static func isInterpreter(_ frame: FoldedFrame) -> Bool { frame.text.hasPrefix("_PyEval_EvalFrameDefault") && !frame.text.hasSuffix("@plt") }
}

/// A frame as folded stacks have it, with the functions that are inlined there: the outermost first, `;` between them.
struct FoldedFrame: Equatable {
    let text: String
    /// `NamedStack.modules`
    let module: Int32

    init(_ text: String, module: Int32 = NamedStack.noModule) {
        self.text = text
        self.module = module
    }
}
