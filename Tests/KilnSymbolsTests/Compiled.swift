import Foundation
import KilnSymbols
import SystemPackage
import Testing

/// A program started by a test, with its standard output to be read.
///
/// Not Foundation's Process: its pipes can be inherited by a program that another test starts at the
/// same moment, and then reading to the end waits for that one.
struct Child {
    let pid: pid_t
    let output: FileDescriptor

    init(_ command: [String]) throws {
        var ends: [Int32] = [-1, -1]
        // A socket pair, because Glibc's Swift module lacks pipe2: the ends must be born close-on-exec.
        let kind = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
        guard socketpair(AF_UNIX, kind, 0, &ends) == 0 else { throw Errno(rawValue: errno) }
        defer { close(ends[1]) }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_adddup2(&actions, ends[1], 1)
        posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0)
        var arguments = command.map { strdup($0) } + [nil]
        defer { for argument in arguments { free(argument) } }
        var pid: pid_t = 0
        let failure = posix_spawnp(&pid, command[0], &actions, nil, &arguments, environ)
        guard failure == 0 else {
            close(ends[0])
            throw Errno(rawValue: failure)
        }
        self.pid = pid
        output = FileDescriptor(rawValue: ends[0])
    }

    /// Reads until a condition holds or the program closes its output.
    func read(until isEnough: (String) -> Bool) throws -> String {
        var text: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65536)
        while !isEnough(String(decoding: text, as: UTF8.self)) {
            let count = try buffer.withUnsafeMutableBytes { try output.read(into: $0) }
            if count == 0 { break }
            text += buffer[..<count]
        }
        return String(decoding: text, as: UTF8.self)
    }

    /// Waits for the end. Returns the wait status: 0 after success.
    @discardableResult
    func wait() -> Int32 {
        try? output.close()
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0 && errno == EINTR {}
        return status
    }
}

/// Runs a program to its end and returns what it printed. Throws where it fails.
@discardableResult
func run(_ program: String, _ arguments: [String]) throws -> String {
    let child = try Child([program] + arguments)
    let text = try child.read { _ in false }
    let status = child.wait()
    guard status == 0 else {
        throw CommandFailed(command: ([program] + arguments).joined(separator: " "), status: status)
    }
    return text
}

struct CommandFailed: Error {
    let command: String
    let status: Int32
}

enum Tools {
    static let compiler: Bool = (try? run("cc", ["--version"])) != nil
    static let binutils: Bool = (try? run("nm", ["--version"])) != nil && (try? run("strip", ["--version"])) != nil
    static let go: Bool = (try? run("go", ["version"])) != nil
    static let isRoot = geteuid() == 0
    static let cxx = has("g++")
    static let objcopy = has("objcopy")
    static let addr2line = has("addr2line")
    static let xz = has("xz")

    /// Whether a program is installed. Tests that can't run without say so by name.
    static func has(_ program: String) -> Bool { (try? run(program, ["--version"])) != nil }
}

/// A directory for files compiled from C. Its maker removes it.
struct Workshop {
    let directory: String

    init() throws {
        let path = NSTemporaryDirectory() + "kiln-symbols-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        directory = path
    }

    func remove() { try? FileManager.default.removeItem(atPath: directory) }

    func path(_ name: String) -> String { directory + "/" + name }

    /// Compiles C (or, with that extension, assembly) and returns the path of the result.
    func compile(_ source: String, to name: String, extension suffix: String = "c", _ options: [String] = []) throws -> String {
        let sourcePath = path(name + "." + suffix)
        try source.write(toFile: sourcePath, atomically: true, encoding: .utf8)
        try run("cc", ["-O1", "-o", path(name), sourcePath] + options)
        return path(name)
    }
}

func symbolTable(of path: String) throws -> SymbolTable {
    let file = try FileDescriptor.open(FilePath(path), .readOnly, options: .closeOnExec)
    return try file.closeAfter { try SymbolTable(reading: file, named: path) }
}

/// One line of `nm`: a symbol as binutils see it.
struct ListedSymbol {
    let address: UInt64
    let size: UInt64
    let type: Character
    let name: String

    var isFunction: Bool { "tTwWi".contains(type) }
    func covers(_ address: UInt64) -> Bool { self.address <= address && address - self.address < size }
}

/// The symbols that `nm -S` lists. Those without a size have size 0; versions are cut off.
func listedSymbols(of path: String, dynamic: Bool) throws -> [ListedSymbol] {
    let text = try run("nm", ["-S", "--defined-only"] + (dynamic ? ["-D"] : []) + [path])
    return text.split(separator: "\n").compactMap { line in
        let fields = line.split(separator: " ")
        guard fields.count >= 3, let address = UInt64(fields[0], radix: 16), let type = fields[fields.count - 2].first
        else { return nil }
        let size = fields.count == 4 ? UInt64(fields[1], radix: 16) ?? 0 : 0
        let name = fields[fields.count - 1].split(separator: "@").first.map(String.init) ?? ""
        return ListedSymbol(address: address, size: size, type: type, name: name)
    }
}

/// Ends a case of a test, and says so: Swift Testing prints what whole tests were skipped, but not single cases.
func skipCase(_ why: String) throws -> Never {
    FileHandle.standardError.write(Data("SKIPPED a case: \(why)\n".utf8))
    try Test.cancel(Comment(rawValue: why))
}

/// The first of the paths where there is something; without any, the case is skipped.
func firstExisting(_ paths: [String]) throws -> String {
    guard let path = paths.first(where: { FileManager.default.fileExists(atPath: $0) }) else { try skipCase("there is none of \(paths)") }
    return path
}
