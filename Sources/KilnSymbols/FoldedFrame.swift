import PrintableText

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

/// A name as it may stand in a folded stack, which separates frames with `;`, stacks with line ends, and ends in a blank and a number:
/// `;` becomes `:`, what isn't printable a visible escape, and a blank before digits at the end `_`, because a file in which every stack
/// ends in two numbers is two profiles. A name without a character is `[unnamed]`.
public func foldedSafe(_ name: String) -> String {
    // Nearly every name is plain and goes through untouched.
    let endsInDigit = name.utf8.last.map { isPartOfNumber($0) } ?? true
    let isPlain = !endsInDigit && name.utf8.allSatisfy { $0 >= 0x20 && $0 < 0x7f && $0 != UInt8(ascii: ";") }
    if isPlain { return name }
    if name.isEmpty { return "[unnamed]" }
    var bytes = name.printable.utf8.map { $0 == UInt8(ascii: ";") ? UInt8(ascii: ":") : $0 }
    if let behindBlank = bytes.lastIndex(where: { !isPartOfNumber($0) }), bytes[behindBlank] == UInt8(ascii: " "), behindBlank + 1 < bytes.count {
        bytes[behindBlank] = UInt8(ascii: "_")
    }
    return String(decoding: bytes, as: UTF8.self)
}

private func isPartOfNumber(_ byte: UInt8) -> Bool {
    (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || byte == UInt8(ascii: ".")
}
