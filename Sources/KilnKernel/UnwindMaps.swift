import CLibbpf
import Glibc
import KilnBPF

/// Unwind rows of one file, as `kiln_unwind.h` lays them out.
public struct UnwindCells {
    /// ELF virtual address from which the rows count.
    public let base: UInt64
    /// Cells of the index, which come before the rows.
    public let granules: Int
    public let cells: [UInt64]

    public init(base: UInt64, granules: Int, cells: [UInt64]) {
        self.base = base
        self.granules = granules
        self.cells = cells
    }
}

/// A piece of executable address space of a process.
public struct CodeMapping {
    public let start: UInt64
    /// The first address behind it.
    public let end: UInt64
    /// Address in the process less ELF virtual address.
    public let bias: UInt64
    /// Equal for all mappings of one file; nil: memory that no file backs.
    public let file: AnyHashable?
    /// Asked for once for each file; nil: it has no call frame information.
    public let table: () -> UnwindCells?

    public init(start: UInt64, end: UInt64, bias: UInt64, file: AnyHashable?, table: @escaping () -> UnwindCells?) {
        self.start = start
        self.end = end
        self.bias = bias
        self.file = file
        self.table = table
    }
}

/// Keeps the unwinder's maps: tables of files, mappings of processes.
///
/// Nothing is changed in place. A process's mappings go into a new array that then takes the old one's place, and the
/// kernel lets running programs finish with the old one. Each call of the kernel for maps of maps waits for that (about
/// 10 ms), so all that is new goes in together.
package final class UnwindMaps {
    /// What the tables of a session may take in all; a process's mappings take 32 bytes each besides.
    package static let memoryCeiling = Int(KILN_UNWIND_CELLS) * MemoryLayout<UInt64>.size

    static let leftOutName = "unwind_tables_left_out"
    static let leftOutMeaning = "files whose unwind tables found no room in \(memoryCeiling >> 20) MiB; stacks through their code may end as no_table"
    static let mappingsLeftOutName = "mappings_left_out"
    static let mappingsLeftOutMeaning =
        "executable mappings of a process beyond \(KILN_MAPPINGS_CAPACITY), the highest; stacks through their code end as no_mapping"

    /// Each takes a descriptor: well below the usual limit of 1,024 open files.
    private static let changesAtOnce = 256

    private struct Table {
        var index: UInt32
        var granules: UInt32
        var base: UInt64
    }

    private let tables: BPFMap
    private let mappings: BPFMap
    /// The code of every process that has ended: each array of its own would take two pages for good.
    private var noCode: InnerMap?
    /// By file; nil: the file has none, or there was no room.
    private var known: [AnyHashable: Table?] = [:]
    private var current: [Int: [kiln_mapping]] = [:]
    private var generation: UInt64 = 0
    private var tableCount = 0
    /// Of the kernel's memory, in whole pages.
    private var bytes = 0
    /// Files whose tables found no room: the session keeps every table, so that a file may come back.
    package private(set) var leftOut = 0
    /// By process: the most that were cut off at a time.
    private var cutOff: [Int: Int] = [:]
    /// Mappings that found no room.
    package var mappingsLeftOut: Int { cutOff.values.reduce(0, +) }

    package init(tables: BPFMap, mappings: BPFMap) {
        self.tables = tables
        self.mappings = mappings
    }

    /// Give the kernel the code of these processes (by their number), sorted by start; take back what it has of those that
    /// ended. Their numbers are not given again, so an array of nothing, one for all, can stand there for good.
    package func set(_ processes: [Int: [CodeMapping]], forgetting ended: [Int] = []) throws(KernelError) {
        var added = InnerMapChanges(), replaced = InnerMapChanges()
        for mapping in processes.values.joined() {
            try addTable(of: mapping, to: &added)
            if added.count == Self.changesAtOnce { try added.apply(to: tables) }
        }
        try added.apply(to: tables)
        // A process without code has just ended: what is known of it stays.
        for (process, code) in processes.sorted(by: { $0.key < $1.key }) where !code.isEmpty {
            let cells = code.prefix(Int(KILN_MAPPINGS_CAPACITY)).map(cell)
            if code.count > cells.count { cutOff[process] = max(cutOff[process] ?? 0, code.count - cells.count) }
            if let known = current[process], Self.areEqual(known, cells) { continue }
            generation += 1
            var header = kiln_mappings_header()
            header.count = UInt64(cells.count)
            header.generation = generation
            let size = MemoryLayout<kiln_mapping>.size
            let map = try InnerMap(named: "process_code", valueSize: size, entries: cells.count + 1) { memory in
                memory.storeBytes(of: header, as: kiln_mappings_header.self)
                cells.withUnsafeBytes { UnsafeMutableRawBufferPointer(rebasing: memory[size...]).copyMemory(from: $0) }
            }
            replaced.set(UInt32(process), to: map)
            current[process] = cells
            if replaced.count == Self.changesAtOnce { try replaced.apply(to: mappings) }
        }
        for process in ended where current.removeValue(forKey: process) != nil {
            replaced.set(UInt32(process), to: try anotherNoCode())
            if replaced.count == Self.changesAtOnce { try replaced.apply(to: mappings) }
        }
        try replaced.apply(to: mappings)
    }

    private func anotherNoCode() throws(KernelError) -> InnerMap {
        if let another = try noCode?.again() { return another }
        let made = try InnerMap(named: "no_code", valueSize: MemoryLayout<kiln_mapping>.size, entries: 1) { _ in }
        let another = try made.again()
        noCode = consume made
        return another
    }

    private func addTable(of mapping: CodeMapping, to added: inout InnerMapChanges) throws(KernelError) {
        guard let file = mapping.file, known[file] == nil else { return }
        guard let table = mapping.table(), table.granules != 0 else {
            known[file] = .some(nil)
            return
        }
        let size = InnerMap.pageRounded(table.cells.count * MemoryLayout<UInt64>.size)
        // Index 0 says "none".
        let index = UInt32(tableCount + 1)
        guard bytes + size <= Self.memoryCeiling, index < UInt32(KILN_UNWIND_TABLES) else {
            known[file] = .some(nil)
            leftOut += 1
            return
        }
        let map = try InnerMap(named: "unwind_table", valueSize: 8, entries: table.cells.count) { memory in
            table.cells.withUnsafeBytes { memory.copyMemory(from: $0) }
        }
        added.set(index, to: map)
        bytes += size
        tableCount += 1
        known[file] = Table(index: index, granules: UInt32(table.granules), base: table.base)
    }

    private func cell(_ mapping: CodeMapping) -> kiln_mapping {
        var cell = kiln_mapping()
        cell.start = mapping.start
        cell.end = mapping.end
        guard let file = mapping.file, let table = known[file] ?? nil else { return cell }
        cell.bias = mapping.bias &+ table.base
        cell.table = table.index
        cell.granules = table.granules
        return cell
    }

    private static func areEqual(_ left: [kiln_mapping], _ right: [kiln_mapping]) -> Bool {
        left.count == right.count && zip(left, right).allSatisfy {
            $0.start == $1.start && $0.end == $1.end && $0.bias == $1.bias && $0.table == $1.table
        }
    }
}
