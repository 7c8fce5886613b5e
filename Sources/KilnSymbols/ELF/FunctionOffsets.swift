import Glibc
import SystemPackage

/// The file offsets of the first bytes of these functions, as uprobes need them. Functions that the file doesn't have are missing in the
/// result. `path`: any ELF file. Throws `Errno` and `SymbolFileError`.
public func fileOffsets(ofFunctions names: Set<String>, inFile path: String) throws -> [String: UInt64] {
    let file = try OpenFile(at: FileDescriptor(rawValue: AT_FDCWD), path)
    let elf = try ElfFile(reading: file.descriptor, named: path)
    let segments = LoadableSegments(try elf.segments())
    var symbols = SymbolCandidates()
    try symbols.read(from: elf, sections: try elf.sections())
    let wanted = Dictionary(uniqueKeysWithValues: names.map { (Array($0.utf8), $0) })
    let lengths = Set(wanted.keys.map(\.count))
    var offsets: [String: UInt64] = [:]
    for symbol in symbols.candidates where symbol.preference != .linkageStub && lengths.contains(symbol.name.count) {
        guard let name = wanted[Array(symbols.strings[symbol.name])] else { continue }
        offsets[name] = segments.place(of: symbol.start)?.fileOffset
    }
    return offsets
}
