import CElfutils
import Glibc
import SystemPackage

/// The file offsets of the functions and static probes of a program or library. Uprobes are attached by file offset.
public struct ProbePlaces {
    /// A function. Several may have one name.
    public struct Function: Equatable, Sendable {
        /// Of its first byte in the file.
        public let offset: UInt64
        /// Nil: the file has no size for it.
        public let size: UInt64?
        /// Its code chooses the function that is called by this name, once in a process (IFUNC).
        public let isIndirect: Bool
    }

    /// A place of a static probe (USDT). One probe may have several.
    public struct StaticProbe: Equatable, Sendable {
        public let provider: String
        public let name: String
        /// Of its instruction in the file.
        public let offset: UInt64
        /// Of the counter that enables it; 0: it is always enabled.
        public let semaphore: UInt64
    }

    private let symbols: SymbolCandidates
    private let segments: LoadableSegments
    public let staticProbes: [StaticProbe]

    /// Reads any ELF file, and the symbols of its debug file. Throws `Errno` and `SymbolFileError`.
    public init(of path: String) throws {
        let file = try OpenFile(at: FileDescriptor(rawValue: AT_FDCWD), path)
        let elf = try ElfFile(reading: file.descriptor, named: path)
        segments = LoadableSegments(try elf.segments())
        var problem: SymbolFileError?
        symbols = try SymbolCandidates(ofProgram: elf, try elf.sections(), at: path, problem: &problem)
        staticProbes = try elf.staticProbes(segments)
    }

    /// The functions with this name, each place once.
    public func functions(named name: String) -> [Function] {
        let wanted = Array(name.utf8)
        var functions: [Function] = []
        for symbol in symbols.candidates where symbol.preference != .linkageStub && symbol.name.count == wanted.count {
            guard symbols.strings[symbol.name].elementsEqual(wanted), let place = segments.place(of: symbol.start),
                !functions.contains(where: { $0.offset == place.fileOffset })
            else { continue }
            functions.append(
                Function(offset: place.fileOffset, size: symbol.isSized ? symbol.end - symbol.start : nil, isIndirect: symbol.isIndirect))
        }
        return functions
    }

    /// The names of all functions.
    public var functionNames: Set<String> {
        Set(symbols.candidates.filter { $0.preference != .linkageStub }.map { String(decoding: symbols.strings[$0.name], as: UTF8.self) })
    }
}

/// The paths of the files of which a process has code mapped, as the process sees them.
public func mappedCodeFiles(ofProcess pid: Int32) -> [String] { codeMappings(ofProcess: pid).map(\.path) }

/// The same, each with a path by which kiln opens the very file that is mapped. Where another one has its name now, that is the link in map_files,
/// which needs CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE.
public func openableCodeFiles(ofProcess pid: Int32) -> [(path: String, opens: String)] {
    codeMappings(ofProcess: pid).map { path, mapping in
        let named = "/proc/\(pid)/root\(path)", link = "/proc/\(pid)/map_files/\(String(mapping.start, radix: 16))-\(String(mapping.end, radix: 16))"
        var mapped = stat(), present = stat()
        guard stat(link, &mapped) == 0 else { return (path, named) }
        let isSame = stat(named, &present) == 0 && present.st_dev == mapped.st_dev && present.st_ino == mapped.st_ino
        return (path, isSame ? named : link)
    }
}

private func codeMappings(ofProcess pid: Int32) -> [(path: String, mapping: Mapping)] {
    guard let maps = try? OpenFile(at: FileDescriptor(rawValue: AT_FDCWD), "/proc/\(pid)/maps"), let bytes = try? maps.descriptor.readToEnd(),
        let mappings = try? ProcessMappings(parsing: bytes)
    else { return [] }
    return mappings.mappings.compactMap { mapping in
        if case .file(let path, _) = mapping.backing, mapping.permissions.contains(.execute) { (path, mapping) } else { nil }
    }
}

extension ElfFile {
    /// The notes in .note.stapsdt of a file of this architecture: three words (the addresses of the probe, of the section .stapsdt.base and of
    /// the semaphore, as the linker knew them), then provider, name and arguments, each with a zero behind it.
    func staticProbes(_ segments: LoadableSegments) throws(SymbolFileError) -> [ProbePlaces.StaticProbe] {
        guard isLittleEndian64Bit else { return [] }
        var probes: [ProbePlaces.StaticProbe] = []
        let sections = try sections(), base = sections.first { name(of: $0) == ".stapsdt.base" }?.address
        for section in sections where section.header.sh_type == UInt32(SHT_NOTE) && name(of: section) == ".note.stapsdt" {
            let notes = try content(of: section, as: ".note.stapsdt")
            guard let start = notes.pointee.d_buf else { continue }
            let bytes = UnsafeRawBufferPointer(start: start, count: notes.pointee.d_size)
            var note = GElf_Nhdr(), position = 0, owner = 0, content = 0
            while true {
                // libelf returns only notes that lie within the data.
                let next = gelf_getnote(notes, position, &note, &owner, &content)
                guard next > position else { break }
                position = next
                guard note.n_type == 3, bytes[owner..<owner + Int(note.n_namesz)].elementsEqual("stapsdt\0".utf8) else { continue }
                if let probe = Self.staticProbe(UnsafeRawBufferPointer(rebasing: bytes[content..<content + Int(note.n_descsz)]), base, segments) {
                    probes.append(probe)
                }
            }
        }
        return probes
    }

    private static func staticProbe(_ note: UnsafeRawBufferPointer, _ base: UInt64?, _ segments: LoadableSegments) -> ProbePlaces.StaticProbe? {
        guard note.count > 24 else { return nil }
        let words = [0, 8, 16].map { note.loadUnaligned(fromByteOffset: $0, as: UInt64.self) }
        let texts = note[24...].split(separator: 0, omittingEmptySubsequences: false).map { String(decoding: $0, as: UTF8.self) }
        guard texts.count >= 3 else { return nil }
        // A tool that moved the program after linking (prelink) moved this section, too.
        let moved = base.map { $0 &- words[1] } ?? 0
        guard let place = segments.place(of: words[0] &+ moved) else { return nil }
        var semaphore: UInt64 = 0
        if words[2] != 0 {
            guard let found = segments.place(of: words[2] &+ moved) else { return nil }
            semaphore = found.fileOffset
        }
        return .init(provider: texts[0], name: texts[1], offset: place.fileOffset, semaphore: semaphore)
    }
}
