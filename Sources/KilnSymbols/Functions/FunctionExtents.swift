import SystemPackage

/// Where each function of a file begins and ends, by its call frame information (.eh_frame, .debug_frame, Go's table of functions): also of functions
/// that no symbol names, because every stock program keeps this information.
struct FunctionExtents: Sendable {
    /// ELF virtual addresses, sorted by start.
    let functions: [Range<UInt64>]

    /// Empty for a file without call frame information, or of another architecture.
    init(_ elf: borrowing ElfFile) throws(SymbolFileError) {
        var found = try elf.frameFunctions(LoadableSegments(try elf.segments()), try elf.sections()).map { $0.start..<$0.end }
        if let go = try elf.goFunctionTable() {
            go.forEachFunction { start, end, _ in found.append(start..<end) }
            found.sort { ($0.lowerBound, $1.upperBound) < ($1.lowerBound, $0.upperBound) }
        }
        functions = found
    }

    /// `name` appears in errors.
    init(reading file: FileDescriptor, named name: String) throws(SymbolFileError) { try self.init(ElfFile(reading: file, named: name)) }

    init(image: [UInt8], named name: String) throws(SymbolFileError) { try self.init(ElfFile(image: image, named: name)) }

    /// The function that an address lies in; of overlapping ones that which begins last.
    func function(at address: UInt64) -> Range<UInt64>? {
        guard let index = functions.lastIndex(startingAtOrBelow: address, start: \.lowerBound), functions[index].contains(address) else { return nil }
        return functions[index]
    }
}
