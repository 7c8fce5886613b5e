import FoundationEssentials
import Glibc
import KilnModel
import SystemPackage

/// The directory of one target's session. Rows are written as they are known; session.json is replaced as a whole.
final class SessionDirectory {
    let path: FilePath
    private let commands: FileDescriptor?
    private let syscalls: FileDescriptor?
    private let owner: (user: UInt32, group: UInt32)?
    /// The directories that were not there before, outermost first.
    private let made: [FilePath]

    /// Make the row files in a directory that holds nothing yet.
    convenience init(_ place: SessionPlace, withCommands: Bool = true, withSyscalls: Bool) throws {
        try self.init(place.path, within: place, withCommands: withCommands, withSyscalls: withSyscalls)
    }

    /// Make the directory, where that is not `place` itself, with its row files. What fails takes `place` back, too.
    init(_ path: FilePath, within place: SessionPlace, withCommands: Bool = true, withSyscalls: Bool) throws {
        let owner = Self.personBehindSudo()
        var made = place.made, created: [FilePath] = []
        func create(_ name: String) throws -> FileDescriptor {
            let file = try Self.create(path.appending(name), owner: owner)
            created.append(path.appending(name))
            return file
        }
        do {
            try Self.make(path, owner: owner, &made)
            commands = withCommands ? try create("commands.jsonl") : nil
            syscalls = withSyscalls ? try create("syscalls.jsonl") : nil
        } catch {
            for file in created { unlink(file.string) }
            for directory in made.reversed() { rmdir(directory.string) }
            throw error
        }
        self.path = path
        self.owner = owner
        self.made = made
    }

    deinit {
        try? commands?.close()
        try? syscalls?.close()
    }

    func append(_ lines: IntervalLines) throws {
        if let commands { try append(lines.commands, to: commands, name: "commands.jsonl") }
        if let syscalls { try append(lines.syscalls, to: syscalls, name: "syscalls.jsonl") }
    }

    /// Replace session.json: a reader sees the former one or this one.
    func write(_ record: SessionRecord) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        try write(Array(try encoder.encode(record)) + [UInt8(ascii: "\n")], to: "session.json")
    }

    /// Write a whole file under a temporary name, then give it its own.
    func write(_ bytes: [UInt8], to name: String) throws {
        let temporary = path.appending(".\(name).partial"), final = path.appending(name)
        do {
            let file = try Self.create(temporary, owner: owner)
            try file.closeAfter { _ = try file.writeAll(bytes) }
            guard rename(temporary.string, final.string) == 0 else { throw Errno(rawValue: errno) }
        } catch {
            unlink(temporary.string)
            throw Self.failure("write", final, error)
        }
    }

    /// Take back what was made, when the session did not begin.
    func discard() {
        for name in ["commands.jsonl", "syscalls.jsonl", "session.json"] { unlink(path.appending(name).string) }
        for directory in made.reversed() { rmdir(directory.string) }
    }

    private func append(_ lines: [UInt8], to file: FileDescriptor, name: String) throws {
        do {
            _ = try file.writeAll(lines)
        } catch {
            throw Self.failure("write", path.appending(name), error)
        }
    }

    fileprivate static func make(_ path: FilePath, owner: (user: UInt32, group: UInt32)?, _ made: inout [FilePath]) throws {
        var parents = path
        var missing: [FilePath] = []
        while !parents.string.isEmpty, access(parents.string, F_OK) != 0 {
            missing.append(parents)
            guard parents.removeLastComponent() else { break }
        }
        for directory in missing.reversed() {
            guard mkdir(directory.string, 0o755) == 0 else { throw failure("make", directory, Errno(rawValue: errno)) }
            made.append(directory)
            if let owner { chown(directory.string, owner.user, owner.group) }
        }
        guard missing.isEmpty else { return }
        guard let entries = opendir(path.string) else { throw failure("use", path, Errno(rawValue: errno)) }
        defer { closedir(entries) }
        while let entry = readdir(entries) {
            let first = entry.pointee.d_name.0, second = entry.pointee.d_name.1, third = entry.pointee.d_name.2
            let dot = CChar(UInt8(ascii: "."))
            if first == dot, second == 0 || (second == dot && third == 0) { continue }
            throw Failure("cannot use \(path) for a session: it is not empty. Give another directory, or remove it.")
        }
    }

    private static func create(_ path: FilePath, owner: (user: UInt32, group: UInt32)?) throws -> FileDescriptor {
        do {
            let file = try FileDescriptor.open(
                path, .writeOnly, options: [.create, .truncate, .closeOnExec, .noFollow],
                permissions: [.ownerReadWrite, .groupRead, .otherRead]
            )
            if let owner { fchown(file.rawValue, owner.user, owner.group) }
            return file
        } catch {
            throw failure("write", path, error)
        }
    }

    fileprivate static func failure(_ attempt: String, _ path: FilePath, _ error: any Error) -> Failure {
        let advice = switch error as? Errno {
        case .noSpace?, .diskQuotaExceeded?: "Free space there, or give another directory with --output."
        default: "Give a directory that can be written with --output."
        }
        return Failure("cannot \(attempt) \(path): \(error). \(advice)")
    }

    /// Files belong to who called sudo.
    fileprivate static func personBehindSudo() -> (user: UInt32, group: UInt32)? {
        guard geteuid() == 0, let user = getenv("SUDO_UID"), let group = getenv("SUDO_GID"),
              let user = UInt32(String(cString: user)), let group = UInt32(String(cString: group))
        else { return nil }
        return (user, group)
    }
}

/// Where a session writes, of one target or of several.
struct SessionPlace {
    let path: FilePath
    /// The directories that were not there before, outermost first.
    let made: [FilePath]

    /// `asked` must not hold anything yet. Without it that is a new directory in the current one, by target and time: sessions that
    /// begin in the same second have one each.
    init(_ asked: String?, target: String, started: WallTime) throws {
        let owner = SessionDirectory.personBehindSudo()
        if let asked {
            var made: [FilePath] = []
            do {
                try SessionDirectory.make(FilePath(asked), owner: owner, &made)
            } catch {
                for directory in made.reversed() { rmdir(directory.string) }
                throw error
            }
            path = FilePath(asked)
            self.made = made
            return
        }
        let name = "kiln-\(target)-\(started.fileName)"
        var candidate = FilePath(name), number = 1
        while mkdir(candidate.string, 0o755) != 0 {
            guard errno == EEXIST else { throw SessionDirectory.failure("make", candidate, Errno(rawValue: errno)) }
            number += 1
            candidate = FilePath("\(name)-\(number)")
        }
        if let owner { chown(candidate.string, owner.user, owner.group) }
        path = candidate
        made = [candidate]
    }
}

/// A JSON object on each line.
func jsonLines(_ records: [some Encodable]) throws -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    var text: [UInt8] = []
    for record in records {
        text += try encoder.encode(record)
        text.append(UInt8(ascii: "\n"))
    }
    return text
}
