import KilnBPF
import SystemPackage

/// Names of Python's code objects in a process. They are read soon after a stack has met them: a code object can be freed, and another one get its
/// address, which is told by the frame itself.
public final class PythonFunctions {
    public let interpreter: PythonInterpreter
    /// By frame; nil: it could not be read, or was another one by then.
    private var known: [UInt64: String?] = [:]

    /// In characters; a function with a longer name or path has no name.
    private static let longestName = 512, longestPath = 4096

    init(_ interpreter: PythonInterpreter) { self.interpreter = interpreter }

    /// `frames`: as the kernel side sends them.
    func learn(_ frames: some Sequence<UInt64>, memory: FileDescriptor) {
        for frame in frames.lazy.map(Self.function) where frame != UInt64(KILN_PYTHON_CUT) && known[frame] == nil {
            known[frame] = .some(name(of: frame, memory))
        }
    }

    /// `function (file.py:12)` with the line where it begins; nil: not known.
    public func name(of frame: UInt64) -> String? { known[Self.function(frame)] ?? nil }

    private static func function(_ frame: UInt64) -> UInt64 { frame & ~KILN_PYTHON_ENTRY }

    private func name(of frame: UInt64, _ memory: FileDescriptor) -> String? {
        let address = (frame & ((UInt64(1) << UInt64(KILN_PYTHON_ADDRESS_BITS)) - 1)) << 3
        guard let code = memory.bytes(at: address, count: Int(KILN_PYTHON_CODE_BYTES)) else { return nil }
        func word(_ offset: UInt32) -> UInt64 { code.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: Int(offset), as: UInt64.self) } }
        let layout = interpreter.layout
        let line = code.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: Int(layout.line), as: UInt32.self) }
        guard word(layout.type) == layout.code_type, let hash = memory.words(at: word(layout.name) &+ UInt64(layout.hash), count: 1)?.first,
            kiln_python_frame(address, hash, word(layout.qualified_name), word(layout.file), line) == frame,
            let name = text(at: word(layout.qualified_name), upTo: Self.longestName, memory),
            let path = text(at: word(layout.file), upTo: Self.longestPath, memory)
        else { return nil }
        return "\(name) (\(path.split(separator: "/").last ?? ""):\(line))"
    }

    /// A string of Python's. Nil if it can't be read, or is longer.
    private func text(at address: UInt64, upTo limit: Int, _ memory: FileDescriptor) -> String? {
        let place = interpreter.text
        guard let header = memory.bytes(at: address, count: place.ascii) else { return nil }
        let (length, state) = header.withUnsafeBytes {
            ($0.loadUnaligned(fromByteOffset: place.length, as: UInt64.self), $0.loadUnaligned(fromByteOffset: place.state, as: UInt32.self))
        }
        // unicodeobject.h: two bits of something else, then the bytes a character has, whether they lie behind the header, whether all are ASCII.
        let width = Int(state >> 2 & 7), isCompact = state >> 5 & 1 == 1, isASCII = state >> 6 & 1 == 1
        guard isCompact, [1, 2, 4].contains(width), length <= UInt64(limit) else { return nil }
        guard length > 0 else { return "" }
        guard let bytes = memory.bytes(at: address &+ UInt64(isASCII ? place.ascii : place.others), count: Int(length) * width) else { return nil }
        var scalars = String.UnicodeScalarView()
        for start in stride(from: 0, to: bytes.count, by: width) {
            let value = bytes[start..<start + width].reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
            scalars.append(Unicode.Scalar(value) ?? "\u{fffd}")
        }
        return String(scalars)
    }
}
