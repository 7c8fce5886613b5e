import Glibc
import SystemPackage

/// Reads a file in pieces, or standard input for `-`. `what`: the expected content, for the error message.
func readPieces(of file: String, _ what: String, _ body: (UnsafeRawBufferPointer) -> Void) throws {
    do {
        let isStandardInput = file == "-"
        let input = isStandardInput ? FileDescriptor.standardInput : try FileDescriptor.open(FilePath(file), .readOnly, options: .closeOnExec)
        defer { if !isStandardInput { try? input.close() } }
        let piece = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 16)
        defer { piece.deallocate() }
        while true {
            let length = try input.read(into: piece)
            if length == 0 { break }
            body(UnsafeRawBufferPointer(rebasing: piece[..<length]))
        }
    } catch {
        throw Failure("cannot read \(file): \(error). Give a file of \(what), or - for standard input.")
    }
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
