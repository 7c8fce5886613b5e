import CElfutils
import Glibc
import SystemPackage

/// Servers that have debug files by build ID (debuginfod, https://sourceware.org/elfutils/Debuginfod.html), asked through libdebuginfod, which keeps what it
/// fetched in the user's cache. Where that can't be loaded, as in a static executable, its program debuginfod-find is run.
///
/// A server that is asked learns which programs run here. So none is asked before `ask`.
public final class DebugFileServers {
    /// Of a fetch that takes time.
    public struct Progress {
        /// The file that the debug file is for.
        public let file: String
        public let bytes: UInt64
        /// Nil: not known.
        public let total: UInt64?
    }

    /// Reports a fetch's progress, and says when to stop.
    public struct Talk {
        /// Nil: the fetch has ended.
        var progress: (Progress?) -> Void
        /// Nothing more is to be fetched.
        var isInterrupted: () -> Bool

        public init(progress: @escaping (Progress?) -> Void, isInterrupted: @escaping () -> Bool) {
            self.progress = progress
            self.isInterrupted = isInterrupted
        }
    }

    /// Files of which no server has a debug file.
    public private(set) var missing: [String] = []
    /// Why servers are no longer asked.
    public private(set) var problem: String?
    /// Nil: none may be asked yet.
    private var talk: Talk?
    private var known: [BuildID: String?] = [:]
    private let usesLibrary: Bool
    private lazy var client: any DebugFileClient = {
        if usesLibrary, let library = Debuginfod() { return library }
        return DebuginfodFind()
    }()

    /// `urls`: separated by blanks, as in DEBUGINFOD_URLS, which they replace.
    public convenience init(urls: String) { self.init(urls: urls, usesLibrary: true) }

    init(urls: String, usesLibrary: Bool) {
        setenv("DEBUGINFOD_URLS", urls, 1)
        self.usesLibrary = usesLibrary
    }

    /// From here on servers are asked.
    public func ask(_ talk: Talk) { self.talk = talk }

    /// The path of the debug file with a build ID, fetched or from the cache; nil if there is none. `name`: of the file that it is for.
    func debugFile(_ buildID: BuildID, of name: String) -> String? {
        guard let talk else { return nil }
        if let known = known[buildID] { return known }
        guard problem == nil else { return nil }
        var path: String?
        do throws(FetchFailure) {
            if talk.isInterrupted() { throw .interrupted }
            path = try client.debugFile(buildID, of: name, talk)
        } catch {
            switch error {
            case .hasNone: if !missing.contains(name) { missing.append(name) }
            case .interrupted: problem = "fetching was interrupted"
            case .failed(let why): problem = why
            }
        }
        talk.progress(nil)
        known[buildID] = path
        return path
    }
}

/// Why a debug file was not fetched.
private enum FetchFailure: Error, Equatable {
    /// No server has it.
    case hasNone
    case interrupted
    /// Asking for others would fail, too.
    case failed(String)
}

private protocol DebugFileClient {
    func debugFile(_ buildID: BuildID, of name: String, _ talk: DebugFileServers.Talk) throws(FetchFailure) -> String
}

/// libdebuginfod, loaded at the first request: only users of debuginfod have to install it.
private final class Debuginfod: DebugFileClient {
    private typealias Progress = @convention(c) (OpaquePointer?, Int, Int) -> Int32

    private let client: OpaquePointer
    private let find: @convention(c) (OpaquePointer, UnsafePointer<UInt8>, Int32, UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> Int32
    private let setUserData: @convention(c) (OpaquePointer, UnsafeMutableRawPointer?) -> Void
    private let end: @convention(c) (OpaquePointer) -> Void
    /// While a fetch is running.
    private var fetch: (file: String, talk: DebugFileServers.Talk)?

    /// libdebuginfod's function for the pointer that a callback gets; found once, because a C callback can hold nothing.
    nonisolated(unsafe) private static var userData: (@convention(c) (OpaquePointer) -> UnsafeMutableRawPointer?)?

    /// Nil if the library is not there, or can't be loaded.
    init?() {
        // A static executable has no loader, and must not load a library for another C library than its own.
        guard getauxval(UInt(AT_BASE)) != 0, let library = dlopen("libdebuginfod.so.1", RTLD_NOW | RTLD_LOCAL) else { return nil }
        func function<Function>(_ name: String, _ type: Function.Type) -> Function? { dlsym(library, name).map { unsafeBitCast($0, to: type) } }
        guard let begin = function("debuginfod_begin", (@convention(c) () -> OpaquePointer?).self),
            let find = function(
                "debuginfod_find_debuginfo",
                (@convention(c) (OpaquePointer, UnsafePointer<UInt8>, Int32, UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> Int32).self),
            let end = function("debuginfod_end", (@convention(c) (OpaquePointer) -> Void).self),
            let setProgress = function("debuginfod_set_progressfn", (@convention(c) (OpaquePointer, Progress?) -> Void).self),
            let setUserData = function("debuginfod_set_user_data", (@convention(c) (OpaquePointer, UnsafeMutableRawPointer?) -> Void).self),
            let userData = function("debuginfod_get_user_data", (@convention(c) (OpaquePointer) -> UnsafeMutableRawPointer?).self),
            let client = begin()
        else { return nil }
        self.client = client
        self.find = find
        self.end = end
        self.setUserData = setUserData
        Self.userData = userData
        setProgress(client) { client, bytes, total in
            guard let client, let own = Debuginfod.userData?(client) else { return 0 }
            return Unmanaged<Debuginfod>.fromOpaque(own).takeUnretainedValue().goesOn(bytes, total) ? 0 : 1
        }
    }

    deinit { end(client) }

    private func goesOn(_ bytes: Int, _ total: Int) -> Bool {
        guard let (file, talk) = fetch else { return true }
        if talk.isInterrupted() { return false }
        if bytes > 0 { talk.progress(.init(file: file, bytes: UInt64(bytes), total: total > 0 ? UInt64(total) : nil)) }
        return true
    }

    func debugFile(_ buildID: BuildID, of name: String, _ talk: DebugFileServers.Talk) throws(FetchFailure) -> String {
        var wasInterrupted = false
        let watching = DebugFileServers.Talk(progress: talk.progress) {
            wasInterrupted = wasInterrupted || talk.isInterrupted()
            return wasInterrupted
        }
        fetch = (name, watching)
        defer { fetch = nil }
        setUserData(client, Unmanaged.passUnretained(self).toOpaque())
        var path: UnsafeMutablePointer<CChar>?
        let file = find(client, buildID.bytes, Int32(buildID.bytes.count), &path)
        defer { free(path) }
        guard file < 0 else {
            close(file)
            guard let path else { throw .hasNone }
            return String(cString: path)
        }
        if wasInterrupted { throw .interrupted }
        if file == -ENOENT { throw .hasNone }
        throw .failed("libdebuginfod: \(Errno(rawValue: -file))")
    }
}

/// The program debuginfod-find.
private struct DebuginfodFind: DebugFileClient {
    func debugFile(_ buildID: BuildID, of name: String, _ talk: DebugFileServers.Talk) throws(FetchFailure) -> String {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { throw .failed("\(Errno(rawValue: errno))") }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        defer { close(ends[0]) }
        var actions = posix_spawn_file_actions_t(), attributes = posix_spawnattr_t(), none = sigset_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_adddup2(&actions, ends[1], 1)
        posix_spawn_file_actions_adddup2(&actions, ends[1], 2)
        // kiln blocks signals; a group of its own, because kiln decides what Ctrl-C means.
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setpgroup(&attributes, 0)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP))
        let command = ["debuginfod-find", "debuginfo", "\(buildID)"]
        var words: [UnsafeMutablePointer<CChar>?] = command.map { strdup($0) } + [nil]
        defer { for word in words { free(word) } }
        var child: pid_t = 0
        let failure = posix_spawnp(&child, "debuginfod-find", &actions, &attributes, &words, environ)
        close(ends[1])
        guard failure == 0 else {
            throw .failed("there is neither libdebuginfod.so.1 nor the program debuginfod-find (Debian has them in libdebuginfod1 and debuginfod)")
        }
        var output: [UInt8] = [], isInterrupted = false
        while true {
            var waiting = pollfd(fd: ends[0], events: Int16(POLLIN), revents: 0)
            let ready = poll(&waiting, 1, 200)
            if ready <= 0 {
                if !isInterrupted, talk.isInterrupted() {
                    isInterrupted = true
                    kill(child, SIGTERM)
                }
                continue
            }
            var piece = [UInt8](repeating: 0, count: 4096)
            let count = read(ends[0], &piece, piece.count)
            if count < 0, errno == EINTR { continue }
            if count <= 0 { break }
            output += piece[..<count]
        }
        var status: Int32 = 0
        while waitpid(child, &status, 0) < 0, errno == EINTR {}
        if isInterrupted { throw .interrupted }
        let lines = String(decoding: output, as: UTF8.self).split(separator: "\n")
        if status == 0, let path = lines.last(where: { $0.hasPrefix("/") }) { return String(path) }
        if lines.contains(where: { $0.hasSuffix("No such file or directory") }) { throw .hasNone }
        throw .failed("debuginfod-find: \(lines.last ?? "it failed")")
    }
}
