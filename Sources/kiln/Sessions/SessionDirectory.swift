import FoundationEssentials
import Glibc
import KilnModel
import PrintableText
import SystemPackage

/// The directory of one target's session. Rows are appended as they are known; other files are replaced atomically.
final class SessionDirectory {
    let path: FilePath
    /// The row files, by name.
    private let rows: [String: FileDescriptor]
    private let owner: (user: UInt32, group: UInt32)?
    /// Files are opened relative to this descriptor, even if another directory now has the path.
    private let directory: FileDescriptor
    /// The directories that kiln created, outermost first.
    private let made: [FilePath]
    /// Names of the complete files.
    private var written: Set<String>

    /// Creates the row files in an empty directory.
    convenience init(_ place: SessionPlace, rows: [RowFile]) throws { try self.init(place.path, within: place, rows: rows) }

    /// Creates the directory, unless it is `place` itself, and its row files. After a failure, `place` is removed, too.
    init(_ path: FilePath, within place: SessionPlace, rows files: [RowFile]) throws {
        let owner = Self.personBehindSudo()
        var made = place.made, directory: FileDescriptor?, rows: [FileDescriptor] = []
        let names = files.map(\.name)
        do {
            try Self.make(path, owner: owner, &made)
            let opened = try Self.open(path)
            directory = opened
            // Released with the descriptor. A file system without locks has none to respect.
            if flock(opened.rawValue, LOCK_EX | LOCK_NB) != 0, errno == EWOULDBLOCK {
                throw Failure("cannot use \(path): another session writes there. Give another directory with --output.")
            }
            for name in names {
                do { rows.append(try Self.create(name, in: opened, owner: owner)) } catch { throw Self.failure("write", path.appending(name), error) }
            }
            self.directory = opened
        } catch {
            for (name, file) in zip(names, rows) {
                try? file.close()
                if let directory { unlinkat(directory.rawValue, name, 0) }
            }
            try? directory?.close()
            for directory in made.reversed() { rmdir(directory.string) }
            throw error
        }
        self.rows = Dictionary(uniqueKeysWithValues: zip(names, rows))
        self.path = path
        self.owner = owner
        self.made = made
        written = Set(names)
    }

    deinit {
        for file in rows.values { try? file.close() }
        try? directory.close()
    }

    func append(_ lines: IntervalLines) throws {
        var attempts = Attempts()
        for (name, lines) in lines.files {
            if let file = rows[name] { attempts.run { try append(lines, to: file, name: name) } }
        }
        try attempts.throwFirst()
    }

    /// Replaces session.json atomically.
    func write(_ record: SessionRecord) throws { try write(Self.text(of: record), to: "session.json") }

    /// The content of session.json.
    static func text(of record: SessionRecord) throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return printableJSON(Array(try encoder.encode(record))) + [UInt8(ascii: "\n")]
    }

    /// Writes a file under a temporary name and renames it. A link or a pipe with the final name is replaced, never written to.
    func write(_ bytes: [UInt8], to name: String) throws {
        let temporary = ".\(name).partial"
        do {
            unlinkat(directory.rawValue, temporary, 0)
            let file = try Self.create(temporary, in: directory, owner: owner)
            try file.closeAfter { _ = try file.writeAll(bytes) }
            guard renameat(directory.rawValue, temporary, directory.rawValue, name) == 0 else { throw Errno(rawValue: errno) }
            written.insert(name)
        } catch {
            unlinkat(directory.rawValue, temporary, 0)
            written.remove(name)
            throw Self.failure("write", path.appending(name), error)
        }
    }

    /// The file of `SampleRecords`.
    static let samples = "samples.jsonl"

    /// Reads one of the files in pieces, even if another directory now has the path. Returns false if there is none.
    func read(_ name: String, _ piece: (UnsafeRawBufferPointer) throws -> Void) throws -> Bool {
        try readSessionFile(name, in: directory.rawValue, shownAs: "\(path.appending(name))", flags: O_NOFOLLOW, piece)
    }

    /// In bytes; 0 if there is no such file.
    func size(of name: String) -> Int {
        var status = stat()
        return fstatat(directory.rawValue, name, &status, AT_SYMLINK_NOFOLLOW) == 0 ? Int(status.st_size) : 0
    }

    /// The first files in the list of those that were written; events have others.
    private static let first =
        ["session.json", "commands.jsonl", "syscalls.jsonl", samples]
        + [StackFiles.onCPU, .offCPU, .wakers].flatMap { [$0.folded, $0.byCommand, $0.picture].compactMap(\.self) }

    private var files: [String] { Self.first + written.subtracting(Self.first).sorted() }

    /// The line that names the session's files; empty if there are none.
    var wroteLines: [Line] {
        var status = stat()
        let files = self.files.filter { written.contains($0) && fstatat(directory.rawValue, $0, &status, 0) == 0 }
        return files.isEmpty ? [] : ["wrote \(path)/: \(files.joined(separator: ", "))"]
    }

    /// Removes everything that was created, if the session did not begin or nobody needs its files.
    func discard() {
        for name in files { unlinkat(directory.rawValue, name, 0) }
        for directory in made.reversed() { rmdir(directory.string) }
    }

    private func append(_ lines: [UInt8], to file: FileDescriptor, name: String) throws {
        do {
            _ = try file.writeAll(lines)
        } catch {
            written.remove(name)
            throw Self.failure("write", path.appending(name), error)
        }
    }

    private static func open(_ path: FilePath) throws -> FileDescriptor {
        do { return try FileDescriptor.open(path, .readOnly, options: [.directory, .closeOnExec]) } catch { throw failure("use", path, error) }
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

    /// Creates a file that must not exist, so that an attacker's link is never followed.
    private static func create(
        _ name: String, in directory: FileDescriptor, owner: (user: UInt32, group: UInt32)?
    ) throws(Errno) -> FileDescriptor {
        let file = openat(directory.rawValue, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o644)
        guard file >= 0 else { throw Errno(rawValue: errno) }
        if let owner { fchown(file, owner.user, owner.group) }
        return FileDescriptor(rawValue: file)
    }

    fileprivate static func failure(_ attempt: String, _ path: FilePath, _ error: any Error) -> Failure {
        let advice =
            switch error as? Errno {
            case .noSpace?, .diskQuotaExceeded?: "Free space there, or give another directory with --output."
            case .fileTooLarge?: "The file size limit (ulimit -f) is reached: raise it."
            case .tooManyOpenFiles?: "Raise the limit of open files (ulimit -n)."
            case .noSuchFileOrDirectory?: "Was the directory removed? Give another one with --output."
            default: "Give a directory that can be written with --output."
            }
        return Failure("cannot \(attempt) \(path): \(error). \(advice)")
    }

    /// Under sudo, files belong to the user who called it.
    fileprivate static func personBehindSudo() -> (user: UInt32, group: UInt32)? {
        guard geteuid() == 0, let user = getenv("SUDO_UID"), let group = getenv("SUDO_GID"),
            let user = UInt32(String(cString: user)), let group = UInt32(String(cString: group))
        else { return nil }
        return (user, group)
    }
}

/// The directory of a session with one target, or the parent directory of several.
struct SessionPlace {
    let path: FilePath
    /// The directories that kiln created, outermost first.
    let made: [FilePath]

    /// `asked` must not exist or be empty. If it is nil, a new directory in the current one is named by target and time; sessions that
    /// begin in the same second get different names.
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

extension SessionPlace {
    /// Removes the directories that kiln created, if they are empty.
    func remove() { for directory in made.reversed() { rmdir(directory.string) } }
}

/// A name, which may hold any characters, as part of a file name: letters, digits and dashes stay, others become `_`.
func fileNamePart(_ name: String) -> String {
    String(
        name.unicodeScalars.prefix(40).map { scalar -> Character in
            scalar.properties.isAlphabetic || ("0"..."9").contains(scalar) || scalar == "-" ? Character(scalar) : "_"
        })
}
