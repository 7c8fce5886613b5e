import Glibc
import SystemPackage

/// Reads short pieces of a file, whose places mostly ascend. It reads a part of the file at a time, because a browser has a million functions.
final class CodeWindow {
    private static let size = 64 << 10

    private let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: CodeWindow.size, alignment: 16)
    private var start: UInt64 = 0
    private var count = 0

    deinit { memory.deallocate() }

    /// Calls `body` with up to `count` bytes, fewer at the end of the file; nil if there are none.
    func withBytes<Result>(of file: FileDescriptor, at offset: UInt64, count wanted: Int, _ body: (UnsafeRawBufferPointer?) -> Result) -> Result {
        if offset < start || offset &+ UInt64(wanted) > start &+ UInt64(count) {
            start = offset
            count = max(0, pread(file.rawValue, memory.baseAddress, memory.count, off_t(clamping: offset)))
        }
        guard offset >= start, offset - start < UInt64(count) else { return body(nil) }
        let first = Int(offset - start)
        return body(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(memory)[first..<min(count, first + wanted)]))
    }
}
