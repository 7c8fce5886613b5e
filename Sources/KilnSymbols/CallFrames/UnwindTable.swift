import CElfutils
import KilnBPF
import SystemPackage

/// The unwind information of one ELF file: its call frame information as sorted rows of 8 bytes, in the form that the unwinder in the
/// kernel searches. `bpf/include/kiln_unwind.h` defines the format.
///
/// Rows come from .eh_frame and, for code outside it, from .debug_frame; for Go code, from Go's own function table. For code without call frame
/// information they can be derived from its instructions. An explicit row marks code whose rules a row can't express, and code of which nothing is known.
public struct UnwindTable: Sendable {
    /// The ELF virtual address of granule 0's first byte, a multiple of 256.
    public let base: UInt64
    /// The number of index cells: one for each 256 bytes of code. 0 for a file without call frame information.
    public let granuleCount: Int
    /// The number of rows after the index.
    public let rowCount: Int
    /// The index (one `kiln_unwind_granule` per cell), then the rows (one `kiln_unwind_row` per cell). At least one cell, because a map in
    /// the kernel can't be empty.
    public let cells: [UInt64]
    /// The number of malformed entries. Their code has no rows, or unsupported ones.
    public let malformedEntryCount: Int

    /// For so much code of a file rows are derived. It takes eight times as much memory for a moment.
    private static let derivedBytes: UInt64 = 8 << 20

    /// The size of the cells in bytes.
    public var byteCount: Int { cells.count * MemoryLayout<UInt64>.stride }

    /// What rows are made from.
    public struct Sources: OptionSet, Sendable {
        public let rawValue: Int
        public init(rawValue: Int) { self.rawValue = rawValue }
        /// Call frame information, and Go's table of functions.
        public static let callFrames = Sources(rawValue: 1)
        /// The instructions of all code that has no rows otherwise.
        public static let instructions = Sources(rawValue: 2)
    }

    /// Reads an open file. `name` appears in errors. Throws for files that are unreadable, malformed or of another architecture, or whose
    /// code spans more than 4 GiB.
    public init(reading file: FileDescriptor, named name: String, from sources: Sources = .callFrames) throws(SymbolFileError) {
        do throws(SymbolFileError) {
            let elf = try ElfFile(reading: file, named: name)
            try self.init(elf, from: sources)
        } catch {
            throw SymbolFileError(file: error.file, problem: error.problem, reading: .callFrameInformation)
        }
    }

    /// Reads an ELF file in memory, such as a vDSO.
    public init(image: [UInt8], named name: String) throws(SymbolFileError) {
        do throws(SymbolFileError) {
            let elf = try ElfFile(image: image, named: name)
            try self.init(elf, from: .callFrames)
        } catch {
            throw SymbolFileError(file: error.file, problem: error.problem, reading: .callFrameInformation)
        }
    }

    private init(_ elf: borrowing ElfFile, from sources: Sources) throws(SymbolFileError) {
        let machine = elf.header.e_machine
        guard let architecture = CallFrameArchitecture.all.first(where: { $0.machine == machine }), elf.isLittleEndian64Bit
        else {
            let problem = SymbolFileError.Problem.unsupported("its code is for a processor that kiln can't unwind on")
            throw SymbolFileError(file: elf.name, problem: problem)
        }
        let loadable = LoadableSegments(try elf.segments())
        // A Go program's .debug_frame has neither the location of frame pointers nor the functions that switch stacks.
        let go = sources.contains(.callFrames) ? try elf.goFrameSection() : nil
        let sections = sources.contains(.callFrames) ? try (go.map { [$0.section] } ?? []) + elf.callFrameSections(loadable) : []
        let entry = try elf.programEntry()
        let code = loadable.code(inFileOfSize: elf.size)
        let derivable = sources.contains(.instructions) ? try elf.derivableCode(in: code) : []
        // Read where the first code without call frame information is met: most files have none.
        var symbols: (functions: [DerivedRows.Function], endless: Set<UInt64>)?
        var budget = Self.derivedBytes
        var builder = UnwindTableBuilder(architecture)
        do throws(UnwindTableBuilder.Problem) {
            // Entries point into libelf's memory, so they are used before the file is closed.
            try builder.build(
                from: sections, code: code, entry: entry, derivable: derivable,
                derive: { range in
                    let count = range.upperBound - range.lowerBound
                    guard count <= budget, let place = loadable.place(of: range.lowerBound), place.count >= count,
                        let bytes = elf.bytes(at: place.fileOffset, count: count)
                    else { return [] }
                    budget -= count
                    let (functions, endless) = symbols ?? (try? elf.functionSymbols()) ?? ([], [])
                    symbols = (functions, endless)
                    let inRange = functions.starting(in: range)
                    return DerivedRows(of: bytes, at: range.lowerBound, functions: inRange, endless: endless) { elf.word(at: $0, loadable) }.rows
                },
                word: { elf.word(at: $0, loadable) })
        } catch {
            throw SymbolFileError(file: elf.name, problem: error.asFileProblem)
        }
        withExtendedLifetime(go) {}
        base = builder.base
        granuleCount = builder.granuleCount
        rowCount = builder.rows.count
        malformedEntryCount = builder.malformedCount
        cells = builder.cells()
    }

    /// The row for an address of the file (an ELF virtual address); nil outside the index. The same search as in the kernel.
    public func row(at address: UInt64) -> kiln_unwind_row? {
        guard address >= base, (address - base) >> UInt64(KILN_UNWIND_GRANULE_SHIFT) < UInt64(granuleCount) else { return nil }
        let pc = UInt32(truncatingIfNeeded: address - base)
        let granule = unsafeBitCast(cells[Int(pc >> UInt32(KILN_UNWIND_GRANULE_SHIFT))], to: kiln_unwind_granule.self)
        var low = Int(granule.first)
        var high = Int(granule.end)
        while low < high {
            let middle = (low + high) / 2
            if row(inCell: middle).pc <= pc { low = middle + 1 } else { high = middle }
        }
        return low > granuleCount ? row(inCell: low - 1) : nil
    }

    /// The rows, sorted by pc, which is relative to `base`.
    public var rows: [kiln_unwind_row] { (granuleCount..<granuleCount + rowCount).map(row(inCell:)) }

    private func row(inCell cell: Int) -> kiln_unwind_row { unsafeBitCast(cells[cell], to: kiln_unwind_row.self) }
}

extension ElfFile {
    /// The sections of code; none without section headers, because a segment holds other things as well.
    fileprivate func derivableCode(in segments: [Range<UInt64>]) throws(SymbolFileError) -> [Range<UInt64>] {
        try sections().compactMap { section in
            // The head of the procedure linkage table is entered by jumps, with a word on the stack.
            guard section.isCode, name(of: section) != ".plt", section.header.sh_type == UInt32(SHT_PROGBITS), section.end > section.address,
                segments.contains(where: { $0.lowerBound <= section.address && $0.upperBound >= section.end })
            else { return nil }
            return section.address..<section.end
        }
    }

    /// Sorted by start; and where those begin that never return, by their names.
    fileprivate func functionSymbols() throws(SymbolFileError) -> (functions: [DerivedRows.Function], endless: Set<UInt64>) {
        var symbols = SymbolCandidates()
        try symbols.read(from: self, sections: sections())
        var functions: [DerivedRows.Function] = [], endless: Set<UInt64> = []
        for symbol in symbols.candidates where symbol.preference != .untyped {
            let name = symbols.strings[symbol.name]
            // Rare code of a function begins with its frame on the stack.
            if FunctionListBuilder.isColdPart(name) { continue }
            functions.append(DerivedRows.Function(start: symbol.start, end: symbol.end))
            if DerivedRows.neverReturns(name) { endless.insert(symbol.start) }
        }
        return (functions.sorted { $0.start < $1.start }, endless)
    }

    /// Where a program starts; nil for a library, whose header may name any address.
    fileprivate func programEntry() throws(SymbolFileError) -> UInt64? {
        guard header.e_entry != 0 else { return nil }
        if header.e_type == UInt16(ET_EXEC) { return header.e_entry }
        // A program for any address: DF_1_PIE of DT_FLAGS_1.
        let isProgram = try segments(ofType: Int32(PT_DYNAMIC)).contains { dynamic in
            guard let entries = bytes(at: dynamic.fileOffset, count: dynamic.fileSize) else { return false }
            return stride(from: 0, to: entries.count - 15, by: 16).contains { place in
                entries.loadUnaligned(fromByteOffset: place, as: UInt64.self) == 0x6fff_fffb
                    && entries.loadUnaligned(fromByteOffset: place + 8, as: UInt64.self) & 0x0800_0000 != 0
            }
        }
        return isProgram ? header.e_entry : nil
    }
}

extension [DerivedRows.Function] {
    fileprivate func starting(in range: Range<UInt64>) -> ArraySlice<DerivedRows.Function> {
        func first(notBelow address: UInt64) -> Int { address == 0 ? 0 : lastIndex(startingAtOrBelow: address - 1, start: \.start).map { $0 + 1 } ?? 0 }
        return self[first(notBelow: range.lowerBound)..<first(notBelow: range.upperBound)]
    }
}
