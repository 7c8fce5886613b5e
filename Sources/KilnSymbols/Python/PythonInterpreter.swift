import Glibc
import KilnBPF
import SystemPackage

/// Python's interpreter in a process: how its structures lie in memory. From CPython's own table of offsets, which it has since 3.13; for 3.11 and 3.12,
/// whose structures are the same in all releases, from its headers (pycore_runtime.h, pycore_interp.h, pycore_frame.h, code.h).
public struct PythonInterpreter {
    /// For the kernel side.
    public let layout: kiln_python
    /// Of a string (PyASCIIObject): where its length and its state stand, and where the characters begin, of plain ASCII and of others.
    let text: (length: Int, state: Int, ascii: Int, others: Int)

    /// As they were added to a process's base address. Nil: a version that is not known.
    init?(_ symbols: PythonSymbols, bias: UInt64, memory: FileDescriptor) {
        guard let version = memory.words(at: symbols.version &+ bias, count: 1)?.first else { return nil }
        let runtime = symbols.runtime &+ bias
        var layout = kiln_python()
        layout.code_type = symbols.codeType &+ bias
        switch version >> 16 {
        case 0x30b:
            layout.first_interpreter = runtime &+ 40
            (layout.next_interpreter, layout.first_thread) = (0, 16)
            (layout.next_thread, layout.thread_id, layout.c_frame, layout.last_frame) = (8, 152, 56, 8)
            (layout.previous, layout.code, layout.owner, layout.is_entry) = (48, 32, 69, 68)
            (layout.type, layout.file, layout.name, layout.qualified_name, layout.line) = (8, 112, 120, 128, 72)
            text = (16, 32, 48, 72)
        case 0x30c:
            layout.first_interpreter = runtime &+ 40
            (layout.next_interpreter, layout.first_thread) = (0, 72)
            (layout.next_thread, layout.thread_id, layout.c_frame, layout.last_frame) = (8, 136, 56, 0)
            (layout.previous, layout.code, layout.owner, layout.is_entry) = (8, 0, 70, 0)
            (layout.type, layout.file, layout.name, layout.qualified_name, layout.line) = (8, 112, 120, 128, 68)
            text = (16, 32, 40, 56)
        case 0x30d:
            guard let offsets = memory.words(at: runtime, count: 71), offsets[0] == Self.cookie, offsets[1] == version,
                let small = Self.narrowed(offsets.dropFirst(3))
            else { return nil }
            // In the order of struct _Py_DebugOffsets (pycore_runtime.h of 3.13).
            func offset(_ index: Int) -> UInt32 { small[index - 3] }
            layout.first_interpreter = runtime &+ UInt64(offset(5))
            (layout.next_interpreter, layout.first_thread) = (offset(8), offset(9))
            (layout.next_thread, layout.thread_id, layout.last_frame) = (offset(21), offset(24), offset(23))
            (layout.previous, layout.code, layout.owner) = (offset(29), offset(30), offset(33))
            (layout.file, layout.name, layout.qualified_name) = (offset(35), offset(36), offset(37))
            (layout.line, layout.type) = (offset(39), offset(45))
            text = (Int(offset(69)), Int(offset(68)), Int(offset(70)), Int(offset(70)) + 16)
        default: return nil
        }
        layout.hash = UInt32(text.length + 8)
        let inFrame = [layout.previous + 8, layout.code + 8, layout.owner + 1]
        let inCode = [layout.file + 8, layout.name + 8, layout.qualified_name + 8, layout.line + 4, layout.type + 8]
        guard max(text.length + 16, text.state + 4) <= text.ascii, text.ascii <= Self.longestHeader else { return nil }
        guard inFrame.allSatisfy({ $0 <= UInt32(KILN_PYTHON_FRAME_BYTES) }), inCode.allSatisfy({ $0 <= UInt32(KILN_PYTHON_CODE_BYTES) }) else { return nil }
        self.layout = layout
    }

    /// Bytes of a string before its characters.
    private static let longestHeader = 256

    /// `xdebugpy`
    private static let cookie: UInt64 = 0x7970_6775_6265_6478

    /// Nil if one is no offset.
    private static func narrowed(_ words: some Sequence<UInt64>) -> [UInt32]? {
        var result: [UInt32] = []
        for word in words {
            guard word < 1 << 24 else { return nil }
            result.append(UInt32(word))
        }
        return result
    }
}

extension FileDescriptor {
    /// Words of a process's memory; nil if they can't be read.
    func words(at address: UInt64, count: Int) -> [UInt64]? {
        bytes(at: address, count: count * 8).map { bytes in
            bytes.withUnsafeBytes { bytes in (0..<count).map { bytes.loadUnaligned(fromByteOffset: $0 * 8, as: UInt64.self) } }
        }
    }

    func bytes(at address: UInt64, count: Int) -> [UInt8]? {
        guard let place = off_t(exactly: address) else { return nil }
        var bytes = [UInt8](repeating: 0, count: count)
        let read = bytes.withUnsafeMutableBytes { Glibc.pread(rawValue, $0.baseAddress, $0.count, place) }
        return read == count ? bytes : nil
    }
}
