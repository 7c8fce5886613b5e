import Glibc
import SystemPackage

/// Reads a file in pieces, or standard input for `-`. `what`: the expected content, for the error message.
func readPieces(of file: String, _ what: String, _ body: (UnsafeRawBufferPointer) throws -> Void) throws {
    try withInput(file, what) { input in
        try forEachPiece { piece in
            let length = try input.read(into: piece)
            try body(UnsafeRawBufferPointer(rebasing: piece[..<length]))
            return length
        }
    }
}

/// Reads a regular file of a session in pieces. Returns false if there is none.
///
/// - Parameters:
///   - directory: The descriptor of its directory, or AT_FDCWD.
///   - path: For messages.
///   - flags: Further flags of openat(2).
func readSessionFile(
    _ name: String, in directory: Int32, shownAs path: String, flags: Int32 = 0, _ piece: (UnsafeRawBufferPointer) throws -> Void
) throws -> Bool {
    func failure(_ reason: String) -> Failure {
        Failure("cannot read \(path): \(reason). Give a directory that a session of kiln wrote.")
    }
    // The end of a pipe may never come, nor its opening.
    let opened = openat(directory, name, O_RDONLY | O_NONBLOCK | O_CLOEXEC | flags)
    if opened < 0, errno == ENOENT { return false }
    guard opened >= 0 else { throw failure(errorText(errno)) }
    let file = FileDescriptor(rawValue: opened)
    do {
        try file.closeAfter {
            var status = stat()
            guard fstat(opened, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { throw failure("it is not a regular file") }
            try forEachPiece { memory in
                let length = try file.read(into: memory)
                try piece(UnsafeRawBufferPointer(rebasing: memory[..<length]))
                return length
            }
        }
    } catch let error as Errno {
        throw failure("\(error)")
    }
    return true
}

/// Opens a file, or takes standard input for `-`, and says what to do where it can't be read.
func withInput(_ file: String, _ what: String, _ body: (FileDescriptor) throws -> Void) throws {
    do {
        if file == "-" { return try body(.standardInput) }
        let input = try FileDescriptor.open(FilePath(file), .readOnly, options: .closeOnExec)
        try input.closeAfter { try body(input) }
    } catch let error as Errno {
        throw Failure("cannot read \(file): \(error). Give a file of \(what), or - for standard input.")
    }
}

/// Lends memory for pieces until one of them is empty. `body` returns how long a piece is.
func forEachPiece(_ body: (UnsafeMutableRawBufferPointer) throws -> Int) rethrows {
    let piece = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 16)
    defer { piece.deallocate() }
    while try body(piece) > 0 {}
}

/// Writes a result to a file, or to standard output for `-` or nil. `body` gets a function that writes a piece.
func writePieces(to file: String?, _ body: ((([UInt8]) throws -> Void)) throws -> Void) throws {
    guard let file, file != "-" else { return try body { try Output.standardOutput.write($0) } }
    do {
        let descriptor = try FileDescriptor.open(
            FilePath(file), .writeOnly, options: [.create, .truncate, .closeOnExec],
            permissions: [.ownerReadWrite, .groupRead, .otherRead])
        try descriptor.closeAfter { try body { _ = try descriptor.writeAll($0) } }
    } catch let error as Errno {
        throw Failure("cannot write \(file): \(error). Give a file that can be written with --output.")
    }
}

/// Replaces a file as a whole: under a temporary name first, so that nothing is written through a link, and nobody sees half of it.
func replaceFile(_ file: String, _ bytes: [UInt8]) throws {
    let path = FilePath(file), partial = path.removingLastComponent().appending(".\(path.lastComponent?.string ?? "").partial")
    do {
        unlink(partial.string)
        let descriptor = try FileDescriptor.open(
            partial, .writeOnly, options: [.create, .exclusiveCreate, .noFollow, .closeOnExec], permissions: [.ownerReadWrite, .groupRead, .otherRead])
        try descriptor.closeAfter { _ = try descriptor.writeAll(bytes) }
        guard rename(partial.string, file) == 0 else { throw Errno(rawValue: errno) }
    } catch let error as Errno {
        unlink(partial.string)
        throw Failure("cannot write \(file): \(error). Give a file that can be written with --output.")
    }
}

/// Refuses to write over a file that is read, before any of it is lost.
func refuseOutput(_ output: String?, onto inputs: [String]) throws {
    guard let output, output != "-" else { return }
    var written = stat()
    guard stat(output, &written) == 0, written.st_mode & S_IFMT == S_IFREG else { return }
    for input in inputs {
        var read = stat()
        guard (input == "-" ? fstat(STDIN_FILENO, &read) : stat(input, &read)) == 0 else { continue }
        if read.st_dev == written.st_dev, read.st_ino == written.st_ino {
            throw Failure("\(output): is read and can't be written at the same time. Give another file with --output.")
        }
    }
}
