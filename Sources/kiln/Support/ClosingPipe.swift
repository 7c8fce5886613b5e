import Glibc
import SystemPackage

/// A pipe that programs started later don't inherit.
struct ClosingPipe {
    let readEnd: FileDescriptor, writeEnd: FileDescriptor

    init() throws {
        do {
            (readEnd, writeEnd) = try FileDescriptor.pipe()
        } catch {
            throw Failure("cannot make a pipe: \(error).")
        }
        for end in [readEnd, writeEnd] { _ = fcntl(end.rawValue, F_SETFD, FD_CLOEXEC) }
    }

    func close() {
        try? readEnd.close()
        try? writeEnd.close()
    }
}
