import Glibc
import KilnHosts
import SystemPackage

/// What comes from another host: lines at first, then frames.
final class HostInput {
    /// So much may come before the lines that are waited for: greetings of login shells.
    private static let mostOfGreeting = 1 << 20

    private let file: FileDescriptor
    private let end: Int32
    private var pending: [UInt8] = []
    private var frames = FrameReader()
    private var passed = 0

    /// - Parameter end: A descriptor that ends the frames when it becomes readable; -1: none.
    init(_ file: FileDescriptor, endedBy end: Int32 = -1) { (self.file, self.end) = (file, end) }

    /// The next line without its end; nil at the end of the input.
    ///
    /// - Parameter patience: Milliseconds until a line has to be there; nil: any time.
    func line(within patience: Int32? = nil) throws -> String? {
        while true {
            if let end = pending.firstIndex(of: UInt8(ascii: "\n")) {
                defer { pending.removeFirst(end + 1) }
                return String(decoding: pending[..<end], as: UTF8.self)
            }
            guard passed < Self.mostOfGreeting else { throw Failure("the shell there prints too much before anything is started.") }
            if let patience {
                guard isReadable(within: patience) else { throw Failure("the connection was lost before anything was started there.") }
            }
            let bytes = try read()
            guard !bytes.isEmpty else { return nil }
            passed += bytes.count
            pending += bytes
        }
    }

    /// The next frame; nil at the end of the input, or if nothing comes for so many milliseconds. After the last line.
    func frame(within patience: Int32) throws -> Frame? {
        frames.add(pending)
        pending = []
        while true {
            if let frame = try frames.next() { return frame }
            guard isReadable(within: patience) else { return nil }
            let bytes = try read()
            guard !bytes.isEmpty else { return nil }
            frames.add(bytes)
        }
    }

    /// False: nothing has come in so many milliseconds, or `end` is readable.
    private func isReadable(within patience: Int32) -> Bool {
        while true {
            var waiting = [file.rawValue, end].map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
            let ready = poll(&waiting, 2, patience)
            if ready < 0, errno == EINTR { continue }
            return ready > 0 && waiting[1].revents == 0
        }
    }

    private func read() throws -> [UInt8] {
        let size = 1 << 16
        return try [UInt8](unsafeUninitializedCapacity: size) { memory, count in
            count = try file.read(into: UnsafeMutableRawBufferPointer(memory))
        }
    }
}
