/// Which side of the system call boundary a frame runs on. Decides the suffix that flamegraph
/// tools colour by.
public enum FrameSpace: Hashable, Sendable {
    case user
    case kernel
}

extension Symbol {
    /// The frame as it is written in a folded stack: `name`, `module+0x1234` where only the module
    /// is known, `[unknown]` where nothing is. Kernel frames end in `_[k]`, inlined functions in `_[i]`, functions of
    /// just-in-time compiled code in `_[j]`. `demangling`: write names as in their source instead of as linkers know them.
    public func foldedFrame(in space: FrameSpace, demangling: Bool = true) -> String {
        func text(_ name: String) -> String { foldedSafe(demangling ? demangled(name) ?? name : name) }
        let frame =
            switch self {
            case .function(let name, _, _): text(name)
            case .inlined(let name, _): text(name) + "_[i]"
            case .generated(let name, _): text(name) + "_[j]"
            case .module(let name, let offset, _): foldedSafe(name) + "+0x" + String(offset, radix: 16)
            case .unknown: "[unknown]"
            }
        return space == .kernel ? frame + "_[k]" : frame
    }
}

/// A name as it may stand in a folded stack, which separates frames with `;` and stacks with line ends: `;` becomes `:`, and
/// each control character or Unicode line separator becomes `?`.
public func foldedSafe(_ name: String) -> String {
    // Nearly every name is plain printable ASCII and goes through untouched.
    let isPlain = name.utf8.allSatisfy { $0 >= 0x20 && $0 < 0x7f && $0 != UInt8(ascii: ";") }
    if isPlain { return name }
    var safe = String.UnicodeScalarView()
    for scalar in name.unicodeScalars {
        switch scalar.value {
        case 0x3b: safe.append(":")
        case 0..<0x20, 0x7f...0x9f, 0x2028, 0x2029: safe.append("?")
        default: safe.append(scalar)
        }
    }
    return String(safe)
}
