import CElfutils
import SystemPackage

/// The identifier that a linker gives each build; a debug file has the same.
struct BuildID: Hashable, Sendable, CustomStringConvertible {
    let bytes: [UInt8]

    /// With one byte, the path would have a directory and no file name. Linkers write 8 to 20 bytes.
    init?(_ bytes: [UInt8]) {
        guard (2...64).contains(bytes.count) else { return nil }
        self.bytes = bytes
    }

    var description: String { Self.hex(bytes) }

    /// The path of this build's debug file by convention: `xx/yyyy.debug` below `.build-id`.
    var debugPath: String { "/usr/lib/debug/.build-id/\(Self.hex(bytes.prefix(1)))/\(Self.hex(bytes.dropFirst())).debug" }

    private static func hex(_ bytes: some Sequence<UInt8>) -> String {
        bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
}

/// The name of the debug file, and the checksum that it must have.
struct DebugLink: Equatable, Sendable {
    let fileName: String
    let checksum: UInt32
}

/// The reference of a debug file to the file with shared parts (dwz).
struct SharedDebugLink: Equatable, Sendable {
    let path: String
    let buildID: BuildID
}

extension ElfFile {
    /// From the linker's note.
    func buildID() throws(SymbolFileError) -> BuildID? {
        for section in try sections() where section.header.sh_type == UInt32(SHT_NOTE) {
            guard let notes = try? content(of: section, as: "notes") else { continue }
            if let found = Self.buildID(in: notes) { return found }
        }
        // A file without section headers, or a vDSO image.
        for segment in try segments(ofType: Int32(PT_NOTE)) {
            guard let notes = notes(at: segment.fileOffset, count: segment.fileSize) else { continue }
            if let found = Self.buildID(in: notes) { return found }
        }
        return nil
    }

    private static func buildID(in notes: UnsafeMutablePointer<Elf_Data>) -> BuildID? {
        guard let start = notes.pointee.d_buf else { return nil }
        let bytes = UnsafeRawBufferPointer(start: start, count: notes.pointee.d_size)
        var note = GElf_Nhdr()
        var position = 0, name = 0, content = 0
        while true {
            // libelf returns only notes that lie within the data.
            let next = gelf_getnote(notes, position, &note, &name, &content)
            guard next > position else { return nil }
            position = next
            if note.n_type == UInt32(NT_GNU_BUILD_ID), bytes[name..<name + Int(note.n_namesz)].elementsEqual("GNU\0".utf8) {
                return BuildID(Array(bytes[content..<content + Int(note.n_descsz)]))
            }
        }
    }

    /// .gnu_debuglink: a file name, zeros up to a multiple of 4, then the CRC of the whole debug file.
    func debugLink() throws(SymbolFileError) -> DebugLink? {
        guard let bytes = try bytes(ofSectionNamed: ".gnu_debuglink"), let nameEnd = bytes.firstIndex(of: 0) else { return nil }
        let checksumStart = (nameEnd + 4) & ~3
        let fileName = String(decoding: bytes[..<nameEnd], as: UTF8.self)
        // The name must not contain a path, so that only the known directories are searched.
        guard checksumStart + 4 <= bytes.count, !fileName.isEmpty, !fileName.contains("/"), fileName != "..", fileName != "."
        else { return nil }
        let word = bytes.loadUnaligned(fromByteOffset: checksumStart, as: UInt32.self)
        return DebugLink(fileName: fileName, checksum: isLittleEndian ? UInt32(littleEndian: word) : UInt32(bigEndian: word))
    }

    /// .gnu_debugaltlink: a path, then a build ID.
    func sharedDebugLink() throws(SymbolFileError) -> SharedDebugLink? {
        guard let bytes = try bytes(ofSectionNamed: ".gnu_debugaltlink"), let pathEnd = bytes.firstIndex(of: 0),
            let buildID = BuildID(Array(bytes[(pathEnd + 1)...]))
        else { return nil }
        return SharedDebugLink(path: String(decoding: bytes[..<pathEnd], as: UTF8.self), buildID: buildID)
    }

    /// The raw content of a section; nil if there is none with this name.
    func bytes(ofSectionNamed name: String) throws(SymbolFileError) -> UnsafeRawBufferPointer? {
        for section in try sections() where self.name(of: section) == name {
            let content = try content(of: section, as: name).pointee
            return UnsafeRawBufferPointer(start: content.d_buf, count: content.d_size)
        }
        return nil
    }
}

/// The checksum of a whole file as in .gnu_debuglink: zlib's CRC-32.
func checksum(of file: FileDescriptor) throws(Errno) -> UInt32 {
    var sum: UInt = 0
    var position: Int64 = 0
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 18, alignment: 16)
    defer { buffer.deallocate() }
    while true {
        let count: Int
        do {
            count = try file.read(fromAbsoluteOffset: position, into: buffer)
        } catch {
            throw error as? Errno ?? .ioError
        }
        if count == 0 { return UInt32(truncatingIfNeeded: sum) }
        sum = crc32(sum, buffer.baseAddress?.assumingMemoryBound(to: UInt8.self), UInt32(clamping: count))
        position += Int64(count)
    }
}
