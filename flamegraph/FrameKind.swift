/// What kind of code a frame is. Drives the colour of its box, never its position.
///
/// Folded text carries the kind as a suffix of the frame: `_[k]` kernel, `_[i]` inlined, `_[j]` JIT-compiled,
/// `_[w]` the stack of a waker, and `_[l]` code of a shared library. The suffix is not shown.
public enum FrameKind: UInt8, BitwiseCopyable, CaseIterable, Sendable {
    case user, kernel, library, inlined, jit, waker
    /// The profiler knew an address or a module, but no symbol: `[unknown]`, `[libc.so.6]`, `0x7f12`, `libc.so.6+0x2a1b`.
    case unresolved

    /// The word for this kind in legends and tooltips.
    public var label: String {
        switch self {
        case .user: "user"
        case .kernel: "kernel"
        case .library: "library"
        case .inlined: "inlined"
        case .jit: "JIT"
        case .waker: "waker"
        case .unresolved: "unresolved"
        }
    }

    /// The kind of a frame as written in folded text, and how many of its bytes are the name to show.
    static func classify(_ frame: UnsafeRawBufferPointer) -> (kind: FrameKind, nameLength: Int) {
        var nameLength = frame.count
        var suffixed: FrameKind?
        if frame.count >= 4, frame.hasSuffix("]"), frame[frame.count - 4] == UInt8(ascii: "_"),
            frame[frame.count - 3] == UInt8(ascii: "[")
        {
            suffixed = kind(ofSuffixLetter: frame[frame.count - 2])
            if suffixed != nil { nameLength -= 4 }
        }
        let name = UnsafeRawBufferPointer(rebasing: frame[..<nameLength])
        if isUnresolved(name, inKernel: suffixed == .kernel) { return (.unresolved, nameLength) }
        return (suffixed ?? (namesLibrary(name) ? .library : .user), nameLength)
    }

    /// Whether a name says its kind: it has a mark, or names a shared library.
    static func isSaid(_ kind: FrameKind, hasMark: Bool) -> Bool { hasMark || kind == .library }

    private static func kind(ofSuffixLetter letter: UInt8) -> FrameKind? {
        switch letter {
        case UInt8(ascii: "k"): .kernel
        case UInt8(ascii: "i"): .inlined
        case UInt8(ascii: "j"): .jit
        case UInt8(ascii: "w"): .waker
        case UInt8(ascii: "l"): .library
        default: nil
        }
    }

    private static func isUnresolved(_ name: UnsafeRawBufferPointer, inKernel: Bool) -> Bool {
        if name.count >= 2, name[0] == UInt8(ascii: "["), name.hasSuffix("]") { return true }
        var digits = 0
        while digits < name.count, name[name.count - 1 - digits].isHexDigit { digits += 1 }
        let prefix = name.count - digits
        guard digits > 0, prefix >= 2, name[prefix - 1] == UInt8(ascii: "x"), name[prefix - 2] == UInt8(ascii: "0") else {
            return false
        }
        // Kernel tools print `symbol+0x5b`: there the symbol is known. A user frame with an offset names its module.
        return prefix == 2 || (!inKernel && name[prefix - 3] == UInt8(ascii: "+"))
    }

    /// Whether the frame is written module`function, as DTrace does, with a shared object as its module.
    private static func namesLibrary(_ name: UnsafeRawBufferPointer) -> Bool {
        guard let tick = name.firstIndex(of: UInt8(ascii: "`")), tick >= 3 else { return false }
        for start in 0...(tick - 3) where name[start] == UInt8(ascii: ".") {
            guard name[start + 1] == UInt8(ascii: "s"), name[start + 2] == UInt8(ascii: "o") else { continue }
            if start + 3 == tick || name[start + 3] == UInt8(ascii: ".") { return true }
        }
        return false
    }
}

extension UnsafeRawBufferPointer {
    fileprivate func hasSuffix(_ character: Unicode.Scalar) -> Bool { last == UInt8(ascii: character) }
}

extension UInt8 {
    fileprivate var isHexDigit: Bool {
        switch self {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "f"), UInt8(ascii: "A")...UInt8(ascii: "F"):
            true
        default: false
        }
    }
}
