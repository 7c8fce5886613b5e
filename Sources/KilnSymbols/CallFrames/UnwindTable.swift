import CElfutils
import KilnBPF
import SystemPackage

/// How to unwind through the code of one ELF file: its call frame information as sorted rows of 8 bytes, in the form that the
/// unwinder in the kernel searches. `bpf/include/kiln_unwind.h` defines the format.
///
/// Rows come from .eh_frame and, for code that it doesn't cover, from .debug_frame; those of Go code from its own table of functions. Whatever a row can't express is an explicit
/// row that says so; so is code without call frame information.
public struct UnwindTable: Sendable {
    /// The ELF virtual address of granule 0's first byte, a multiple of 256.
    public let base: UInt64
    /// How many cells the index has: one for each 256 bytes of code. 0 in a file without call frame information.
    public let granuleCount: Int
    /// How many rows come behind the index.
    public let rowCount: Int
    /// The index, a `kiln_unwind_granule` a cell, then the rows, a `kiln_unwind_row` a cell. At least one cell: a map in the
    /// kernel can't be empty.
    public let cells: [UInt64]
    /// How many entries contradict themselves. What they were to cover is code without rows, or with unsupported ones.
    public let malformedEntryCount: Int

    /// Bytes that the cells take.
    public var byteCount: Int { cells.count * MemoryLayout<UInt64>.stride }

    /// Reads an open file. `name` appears in errors: for files that are unreadable, broken, of another architecture, or whose
    /// code spans more than 4 GiB.
    public init(reading file: FileDescriptor, named name: String) throws(SymbolFileError) {
        do throws(SymbolFileError) {
            let elf = try ElfFile(reading: file, named: name)
            try self.init(elf)
        } catch {
            throw SymbolFileError(file: error.file, problem: error.problem, reading: .callFrameInformation)
        }
    }

    /// Reads an ELF file that lies in memory, such as a vDSO.
    public init(image: [UInt8], named name: String) throws(SymbolFileError) {
        do throws(SymbolFileError) {
            let elf = try ElfFile(image: image, named: name)
            try self.init(elf)
        } catch {
            throw SymbolFileError(file: error.file, problem: error.problem, reading: .callFrameInformation)
        }
    }

    private init(_ elf: borrowing ElfFile) throws(SymbolFileError) {
        let machine = elf.header.e_machine
        guard let architecture = CallFrameArchitecture.all.first(where: { $0.machine == machine }), elf.isLittleEndian64Bit
        else {
            let problem = SymbolFileError.Problem.unsupported("its code is for a processor that kiln can't unwind on")
            throw SymbolFileError(file: elf.name, problem: problem)
        }
        let loadable = LoadableSegments(try elf.segments())
        // A Go program's .debug_frame doesn't say where frame pointers are, nor where stacks are left.
        let go = try elf.goFrameSection()
        let sections = try (go.map { [$0.section] } ?? []) + elf.callFrameSections(loadable)
        var builder = UnwindTableBuilder(architecture)
        do throws(UnwindTableBuilder.Problem) {
            // Entries point into what libelf holds, so they are used up before the file is closed.
            try builder.build(from: sections, code: loadable.code(inFileOfSize: elf.size)) { address in
                elf.word(at: address, loadable)
            }
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

    /// The row that holds for an address of the file (an ELF virtual address); nil outside the index.
    /// The same search as the kernel's.
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

    /// The rows, sorted by pc, which counts from `base`.
    public var rows: [kiln_unwind_row] { (granuleCount..<granuleCount + rowCount).map(row(inCell:)) }

    private func row(inCell cell: Int) -> kiln_unwind_row { unsafeBitCast(cells[cell], to: kiln_unwind_row.self) }
}
