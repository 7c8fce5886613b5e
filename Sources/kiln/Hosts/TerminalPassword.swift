import Glibc
import SystemPackage

/// A password that a person types. It is never part of a command line or of an environment.
enum TerminalPassword {
    /// Asks on the terminal, whatever standard input is, and shows nothing of what is typed. Throws `Failure` where there is no terminal.
    ///
    /// - Parameter cancelled: The question ends without an answer when this descriptor is readable.
    static func ask(_ prompt: String, cancelled: FileDescriptor) throws -> String {
        let terminal = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC)
        guard terminal >= 0 else {
            throw Failure(
                "sudo asks for a password, and there is no terminal to type it. Run kiln on a terminal, or let sudo run kiln without a password (NOPASSWD).")
        }
        defer { close(terminal) }
        let say = Output(descriptor: .init(rawValue: terminal))
        try say.write(Array(prompt.utf8))
        var former = termios()
        tcgetattr(terminal, &former)
        var silent = former
        // Key by key: Ctrl-C ends the question, and not kiln.
        silent.c_lflag &= ~tcflag_t(ECHO | ISIG | ICANON)
        tcsetattr(terminal, TCSAFLUSH, &silent)
        defer {
            tcsetattr(terminal, TCSAFLUSH, &former)
            try? say.write([UInt8(ascii: "\n")])
        }
        let none = Failure("no password was given.", status: 128 + SIGINT)
        var password: [UInt8] = [], byte: UInt8 = 0
        keys: while password.count < 1024 {
            var waiting = [terminal, cancelled.rawValue].map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
            if poll(&waiting, 2, -1) < 0, errno == EINTR { continue }
            guard waiting[1].revents == 0, read(terminal, &byte, 1) == 1 else { throw none }
            switch byte {
            case UInt8(ascii: "\n"), UInt8(ascii: "\r"), 4: break keys  // Enter, Ctrl-D
            case 3: throw none  // Ctrl-C
            case 8, 127: _ = password.popLast()  // Backspace
            case 21: password = []  // Ctrl-U
            default: password.append(byte)
            }
        }
        return String(decoding: password, as: UTF8.self)
    }
}
