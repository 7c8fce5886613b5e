import CElfutils
import Glibc
import SystemPackage

/// The name by which a process executed its program. The paths of its mappings have the target of a link instead: Debian's redis-server is a link
/// to redis-check-rdb.
struct ExecutedName {
    let file: FileIdentity
    let name: String

    /// AT_EXECFN of the auxiliary vector (getauxval(3)): the address, in the process's memory, of the path that was given to execve.
    private static let pathEntry: UInt64 = 31

    /// Nil if the path can't be read, or leads to no file now. Of a script it leads to the script.
    init?(of process: FileDescriptor) {
        guard let path = Self.path(of: process), let name = path.split(separator: "/").last else { return nil }
        var status = stat()
        let place = path.hasPrefix("/") ? "root" + path : "cwd/" + path
        guard fstatat(process.rawValue, place, &status, 0) == 0 else { return nil }
        file = FileIdentity(of: status)
        self.name = String(name)
    }

    private static func path(of process: FileDescriptor) -> String? {
        guard let vector = try? OpenFile(at: process, "auxv"), let bytes = try? vector.descriptor.readToEnd(), let memory = try? OpenFile(at: process, "mem")
        else { return nil }
        let words = bytes.withUnsafeBytes { bytes in (0..<bytes.count / 8).map { bytes.loadUnaligned(fromByteOffset: $0 * 8, as: UInt64.self) } }
        guard let entry = stride(from: 0, to: words.count - 1, by: 2).first(where: { words[$0] == pathEntry }), let start = off_t(exactly: words[entry + 1])
        else { return nil }
        // It lies at the end of the stack: less than a whole buffer may be there.
        var text = [UInt8](repeating: 0, count: Int(PATH_MAX))
        let count = text.withUnsafeMutableBytes { pread(memory.descriptor.rawValue, $0.baseAddress, $0.count, start) }
        guard count > 0, let end = text[..<count].firstIndex(of: 0) else { return nil }
        return String(decoding: text[..<end], as: UTF8.self)
    }
}
