import PrintableText

/// The side of the system call boundary on which a frame runs. It decides the suffix by which flamegraph tools choose colours.
public enum FrameSpace: Hashable, Sendable {
    case user
    case kernel
}

extension Symbol {
    /// The text of the frame in a folded stack: `name`, `module+0x1234` if only the module is known, `[unknown]` if nothing is known.
    /// Kernel frames end with `_[k]`, inlined functions with `_[i]`, just-in-time compiled functions with `_[j]`. `demangling`: use source
    /// names instead of linker names. `place` stands behind the name: `name (file.c:12)`. `isGuessed`: the frame was found without call frame information; its
    /// name is followed by `[guess]`.
    public func foldedFrame(in space: FrameSpace, demangling: Bool = true, at place: SourcePlace? = nil, isGuessed: Bool = false) -> String {
        // Before a suffix, which is only known by where it stands.
        let mark = (place.map { " (" + foldedSafe($0.text + ")") } ?? "") + (isGuessed ? " [guess]" : "")
        func text(_ name: String) -> String { foldedSafe(demangling ? demangled(name) ?? name : name) + mark }
        let frame =
            switch self {
            case .function(let name, _, _): text(name)
            case .inlined(let name, _): text(name) + "_[i]"
            case .generated(let name, _): text(name) + "_[j]"
            case .module(let name, let offset, _): foldedSafe(name) + "+0x" + String(offset, radix: 16) + mark
            case .unknown: "[unknown]" + mark
            }
        return space == .kernel ? frame + "_[k]" : frame
    }
}

/// A name in a form that is safe in a folded stack, whose syntax uses `;`, line ends, and a final blank and number. `;` becomes `:`,
/// unprintable characters become visible escapes, and a blank before final digits becomes `_`, because a file in which every stack ends
/// with two numbers is read as two profiles. An empty name becomes `[unnamed]`.
public func foldedSafe(_ name: String) -> String {
    // Nearly every name is plain and is returned unchanged.
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
