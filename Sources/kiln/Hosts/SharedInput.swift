import KilnHosts
import Synchronization
import SystemPackage

/// What several hosts need and is made once, when the first one needs it: the program to send, and the password of sudo.
final class SharedInput: Sendable {
    private struct State {
        var program: Result<OwnBinary, any Error>?
        var password: Result<String, any Error>?
    }

    private let state = Mutex(State())
    private let binary: String?
    private let prompt: String
    /// A byte in this pipe cancels the question for the password.
    private let cancellation: ClosingPipe

    /// - Parameter binary: A program to send instead of this one.
    init(binary: String?, hosts: [HostName]) throws {
        cancellation = try ClosingPipe()
        self.binary = binary
        prompt = "[sudo] password for \(hosts.map(\.description).joined(separator: ", ")): "
    }

    func program() throws -> OwnBinary {
        try state.withLock { state in
            let made = state.program ?? Result { try OwnBinary(binary) }
            state.program = made
            return made
        }.get()
    }

    /// Cancels the question for the password.
    func cancelQuestion() { _ = try? cancellation.writeEnd.writeAll([0]) }

    /// Asks on the terminal.
    func password() throws -> String {
        try state.withLock { state in
            let made = state.password ?? Result { try TerminalPassword.ask(prompt, cancelled: cancellation.readEnd) }
            state.password = made
            return made
        }.get()
    }
}
