import Glibc
import KilnModel
import KilnProfiles
import PrintableText
import SystemPackage

/// The program curl, which knows TLS, certificates and proxies. https://curl.se/docs/manpage.html
///
/// Other users see the command line of a process, and its files: so URL and token go through standard input, and the body through a file in a directory
/// that only this user can open.
struct Curl: Sendable {
    /// What it brings.
    enum Outcome {
        case answer(PushAnswer)
        /// The server has given no answer.
        case none(PushVerdict)
    }

    let program: String
    let token: String?
    /// In seconds: of a transfer, and of the connection in it.
    var limit = 60.0
    var connectionLimit = 10.0

    /// What is read of an answer, in bytes. More is no answer of a server that takes profiles.
    private static let mostOfAnswer = 1 << 16

    /// Throws where there is no such program.
    init(token: String? = nil) throws {
        let path = getenv("PATH").map { String(cString: $0) } ?? "/usr/bin:/bin"
        let places: [String] = path.split(separator: ":").map { "\($0)/curl" }
        guard let program = places.first(where: { access($0, X_OK) == 0 }) else {
            throw Failure("--push needs the program curl, and there is none on the search path. Install it: apt install curl")
        }
        self.program = program
        self.token = token
    }

    /// Sends a request. `isInterrupted` is asked from time to time.
    func send(_ request: PushRequest, isInterrupted: () -> Bool) -> Outcome {
        do {
            let files = try TransferFiles()
            defer { files.remove() }
            try files.write(body: request.body)
            return try transfer(request, files, isInterrupted)
        } catch {
            return .none(.refused(reason: "a transfer can't begin: \(error)"))
        }
    }

    /// curl's configuration: a file of long options, with texts in quotes ("-K, --config" in its manual).
    func configuration(_ request: PushRequest, body: String) -> String {
        var options = ["silent", "show-error", "globoff"]
        func set(_ name: String, _ value: String) { options.append("\(name) = \(Self.quoted(value))") }
        // The answer's head comes before its body, without that of a proxy.
        options += ["include", "suppress-connect-headers"]
        set("max-time", "\(limit)")
        set("connect-timeout", "\(connectionLimit)")
        set("user-agent", "kiln/\(kilnVersion)")
        set("url", request.url.text)
        for header in request.headers { set("header", header) }
        // Not asked for: a question whether the body may be sent, which many servers answer after a second.
        set("header", "Expect:")
        if let token {
            set("header", "Authorization: Bearer \(token)")
            // What is not encrypted stays on this host.
            if !request.url.isEncrypted { set("noproxy", "*") }
        }
        set("data-binary", "@\(body)")
        return options.map { $0 + "\n" }.joined()
    }

    private static func quoted(_ text: String) -> String {
        let escapes: [Character: String] = ["\\": "\\\\", "\"": "\\\"", "\n": "\\n", "\r": "\\r", "\t": "\\t"]
        return "\"" + text.map { escapes[$0] ?? String($0) }.joined() + "\""
    }

    private func transfer(_ request: PushRequest, _ files: TransferFiles, _ isInterrupted: () -> Bool) throws -> Outcome {
        let input = try Self.pipe(), output = try Self.pipe()
        defer { try? output.read.close() }
        let child: pid_t
        do {
            defer {
                try? input.read.close()
                try? output.write.close()
            }
            // Shorter than what a pipe holds, so that nobody has to read it yet.
            try input.write.closeAfter { _ = try input.write.writeAll(configuration(request, body: files.body).utf8) }
            child = try start(input: input.read, output: output.write, errors: files.errors)
        }
        var answer: [UInt8] = [], wasInterrupted = false, isCut = false
        let piece = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 16)
        defer { piece.deallocate() }
        while true {
            var waiting = pollfd(fd: output.read.rawValue, events: Int16(POLLIN), revents: 0)
            let ready = poll(&waiting, 1, 100)
            if !wasInterrupted, isInterrupted() {
                wasInterrupted = true
                kill(child, SIGTERM)
            }
            if ready <= 0 { continue }
            guard let count = try? output.read.read(into: piece), count > 0 else { break }
            if answer.count < Self.mostOfAnswer {
                answer += piece[..<min(count, Self.mostOfAnswer - answer.count)]
            } else if !isCut {
                isCut = true
                kill(child, SIGTERM)
            }
        }
        var status: Int32 = 0
        while waitpid(child, &status, 0) < 0, errno == EINTR {}
        if wasInterrupted { return .none(.interrupted) }
        // A server that has given a status has decided, even if the rest of its answer is missing.
        if let answer = PushAnswer(answer) { return .answer(answer) }
        if isCut { return .none(.refused(reason: "its answer is no answer of HTTP")) }
        return .none(Self.verdict(status & 0x7f == 0 ? status >> 8 & 0xff : -1, words: files.said))
    }

    /// What an exit status of curl means ("EXIT CODES" in its manual), without an answer.
    static func verdict(_ status: Int32, words: String) -> PushVerdict {
        // curl: (7) Failed to connect to 127.0.0.1 port 1
        // More about curl: …
        let line = words.split(separator: "\n").first { $0.hasPrefix("curl: (") }?.drop { $0 != ")" }.dropFirst(2) ?? ""
        let reason = line.isEmpty ? "curl ended with status \(status)" : String(line.prefix(400)).printable
        switch status {
        // The status of an answer is there, and then nothing.
        case 0: return .later(reason: "its answer was cut off", asked: nil)
        // No proxy, no host, no connection; an answer that was cut off; too late; no TLS; nothing at all; a connection that was lost (HTTP/2's, HTTP/3's).
        case 5, 6, 7, 16, 18, 28, 35, 52, 55, 56, 92, 95, 96: return .later(reason: reason, asked: nil)
        default: return .refused(reason: reason)
        }
    }

    /// A pair of sockets that no other child gets: a pipe would have to be closed for them after it was made.
    private static func pipe() throws(Errno) -> (read: FileDescriptor, write: FileDescriptor) {
        var ends: [Int32] = [-1, -1]
        guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0, &ends) == 0 else { throw Errno(rawValue: errno) }
        return (FileDescriptor(rawValue: ends[0]), FileDescriptor(rawValue: ends[1]))
    }

    private func start(input: FileDescriptor, output: FileDescriptor, errors: String) throws(Errno) -> pid_t {
        var actions = posix_spawn_file_actions_t(), attributes = posix_spawnattr_t(), none = sigset_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        posix_spawn_file_actions_adddup2(&actions, input.rawValue, 0)
        posix_spawn_file_actions_adddup2(&actions, output.rawValue, 1)
        posix_spawn_file_actions_addopen(&actions, 2, errors, O_WRONLY | O_CREAT | O_EXCL, 0o600)
        // kiln blocks signals; a group of its own, because kiln decides what Ctrl-C means.
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setpgroup(&attributes, 0)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP))
        // -q is the first argument, so that no .curlrc is read.
        let command = ["curl", "-q", "--config", "-"]
        var words: [UnsafeMutablePointer<CChar>?] = command.map { strdup($0) } + [nil]
        defer { for word in words { free(word) } }
        var child: pid_t = 0
        let failure = posix_spawn(&child, program, &actions, &attributes, &words, environ)
        guard failure == 0 else { throw Errno(rawValue: failure) }
        return child
    }
}

/// The files of a transfer, in a directory that only this user can open.
private struct TransferFiles {
    private let directory: String
    let body: String
    /// What curl says; made by curl's start.
    let errors: String

    init() throws {
        var template = Array(((getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp") + "/kiln-push-XXXXXX").utf8CString)
        guard mkdtemp(&template) != nil else { throw Failure("no directory can be made for it in $TMPDIR or /tmp: \(errorText(errno))") }
        directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        body = directory + "/body"
        errors = directory + "/errors"
    }

    func write(body bytes: [UInt8]) throws {
        let file = try FileDescriptor.open(
            FilePath(body), .writeOnly, options: [.create, .exclusiveCreate, .noFollow, .closeOnExec], permissions: [.ownerReadWrite])
        try file.closeAfter { _ = try file.writeAll(bytes) }
    }

    func remove() {
        unlink(body)
        unlink(errors)
        rmdir(directory)
    }

    /// The beginning of what curl said.
    var said: String {
        guard let file = try? FileDescriptor.open(FilePath(errors), .readOnly, options: .closeOnExec) else { return "" }
        defer { try? file.close() }
        let piece = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 16)
        defer { piece.deallocate() }
        return String(decoding: piece[..<((try? file.read(into: piece)) ?? 0)], as: UTF8.self)
    }
}
