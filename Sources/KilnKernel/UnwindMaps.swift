import CLibbpf
import Glibc
import KilnBPF
import KilnModel

/// Unwind rows of one file, in the layout of `kiln_unwind.h`.
public struct UnwindCells {
    /// The ELF virtual address to which the rows are relative.
    public let base: UInt64
    /// The number of index cells, which come before the rows.
    public let granules: Int
    public let cells: [UInt64]

    public init(base: UInt64, granules: Int, cells: [UInt64]) {
        self.base = base
        self.granules = granules
        self.cells = cells
    }
}

/// A part of a file that processes map, at any address: its identity as the kernel reports it, and its code.
public struct CodePiece {
    /// Identified by inode number, size and time; nil: the vDSO.
    public struct File: Hashable, Sendable {
        /// The device numbers, as in /proc/PID/maps.
        public let major: UInt32
        public let minor: UInt32
        public let inode: UInt64
        public let size: UInt64
        public let modifiedSeconds: Int64
        public let modifiedNanoseconds: UInt32

        public init(
            major: UInt32, minor: UInt32, inode: UInt64, size: UInt64, modifiedSeconds: Int64, modifiedNanoseconds: UInt32
        ) {
            self.major = major
            self.minor = minor
            self.inode = inode
            self.size = size
            self.modifiedSeconds = modifiedSeconds
            self.modifiedNanoseconds = modifiedNanoseconds
        }
    }

    public let file: File?
    public let fileOffset: UInt64
    /// The ELF virtual address of the first byte.
    public let address: UInt64
    /// The caller's number for it (`FoundCode.piece`), from 1.
    public let number: Int

    public init(file: File?, fileOffset: UInt64, address: UInt64, number: Int) {
        self.file = file
        self.fileOffset = fileOffset
        self.address = address
        self.number = number
    }
}

/// A range of a process's executable address space.
public struct CodeMapping {
    public let start: UInt64
    /// The first address after it.
    public let end: UInt64
    /// Address in the process minus ELF virtual address.
    public let bias: UInt64
    /// Equal for all mappings of one file; nil: memory without a file, or a file that can't be read.
    public let file: AnyHashable?
    /// Memory without a file.
    public let isGenerated: Bool
    /// Of its file, as in /proc/PID/maps; 0: without a file, or if the kernel may have the inode of another file below it.
    public let inode: UInt64
    /// Lets the unwinder find the code in processes whose mappings it does not have; nil: it finds it only here.
    public let piece: CodePiece?
    /// The interpreter of the process, if it is a Python that is known.
    public let python: kiln_python?
    /// Called once for each file; returns nil if the file has no call frame information.
    public let table: () -> UnwindCells?

    public init(
        start: UInt64, end: UInt64, bias: UInt64, file: AnyHashable?, isGenerated: Bool = false, inode: UInt64 = 0, piece: CodePiece? = nil,
        python: kiln_python? = nil,
        table: @escaping () -> UnwindCells?
    ) {
        self.inode = inode
        self.start = start
        self.end = end
        self.bias = bias
        self.file = file
        self.isGenerated = isGenerated
        self.piece = piece
        self.python = python
        self.table = table
    }
}

/// The code of a process as it was when its mappings were read.
public struct ProcessCode {
    /// Sorted by start. Empty: the process has ended.
    public let mappings: [CodeMapping]
    /// Grows from one reading of a session to the next, of whichever process; 0: unnumbered.
    public let reading: UInt64
    /// Readings of one layer have the same code wherever both have some, and are of one process.
    public let layer: UInt64

    public init(_ mappings: [CodeMapping], reading: UInt64 = 0, layer: UInt64 = 0) {
        self.mappings = mappings
        self.reading = reading
        self.layer = layer
    }
}

/// Maintains the unwinder's maps: tables of files, mappings of processes.
///
/// Nothing is changed in place. A process's new mappings go into a new array that replaces the old one, and the kernel lets running
/// programs finish with the old one. Each call for a map of maps waits for that (about 10 ms), so all changes go into one call.
package final class UnwindMaps {
    /// The memory limit of all tables of a session; a process's mappings take 64 bytes each in addition.
    package static let memoryCeiling = Int(KILN_UNWIND_CELLS) * MemoryLayout<UInt64>.size

    static let leftOutName = "unwind_tables_left_out"
    static let leftOutMeaning = "files whose unwind tables exceed \(memoryCeiling >> 20) MiB; stacks through their code may end as no_table"
    static let mappingsLeftOutName = "mappings_left_out"
    static let mappingsLeftOutMeaning =
        "executable mappings of a process beyond \(KILN_MAPPINGS_CAPACITY), those with the highest addresses; stacks through their code may end as no_mapping"

    private static let besidesTime = Nanoseconds(1_000_000_000)
    private static let putInPlaceEvery = Nanoseconds(50_000_000)

    /// Each change holds a descriptor, and the usual limit is 1,024 open files.
    private static let changesAtOnce = 256

    private struct Table {
        var index: UInt32
        var granules: UInt32
        var base: UInt64
    }

    private let tables: BPFMap
    private let mappings: BPFMap
    private let knownCode: BPFMap?
    private let pythons: BPFMap?
    /// Processes with an interpreter, by the address that leads to it.
    private var interpreters: [Int: UInt64] = [:]
    /// Numbers of the pieces that the kernel knows.
    private var pieces: Set<Int> = []
    /// Those for which it had no room.
    private var unknownPieces: Set<Int> = []
    /// An empty array, shared by all processes that have ended; one each would take two pages.
    private var noCode: InnerMap?
    /// By file; nil: it has no table, or there was no memory left.
    private var known: [AnyHashable: Table?] = [:]
    private var current: [Int: (layer: UInt64, cells: [kiln_mapping])] = [:]
    private var generation: UInt64 = 0
    private var tableCount = 0
    /// The kernel's memory, in whole pages.
    private var bytes = 0
    /// Files whose tables found no memory. The session keeps every table, because a file may be mapped again.
    package private(set) var leftOut = 0
    /// By process: the largest number of mappings beyond the limit.
    private var cutOff: [Int: Int] = [:]
    /// Mappings beyond the limit.
    package var mappingsLeftOut: Int { cutOff.values.reduce(0, +) }

    /// `knownCode`: nil if the unwinder doesn't look for code in other processes. `pythons`: nil if it takes no frames of Python.
    package init(tables: BPFMap, mappings: BPFMap, knownCode: BPFMap? = nil, pythons: BPFMap? = nil) {
        self.pythons = pythons
        self.tables = tables
        self.mappings = mappings
        self.knownCode = knownCode
    }

    /// Gives the kernel the code of these processes (by number), and removes that of processes that ended. Numbers are not
    /// reused, so one empty array stands for all that ended.
    /// `besides`: code of other processes, in case they are sampled. Most never are, so its tables get half of the memory and one second,
    /// the smallest files first; the rest is loaded when its process is sampled.
    package func set(
        _ processes: [Int: ProcessCode], besides: [CodeMapping] = [], forgetting ended: [Int] = []
    ) throws(KernelError) {
        // A process may end while tables are made.
        for (process, code) in processes where !code.mappings.isEmpty { try setInterpreter(of: process, code.mappings.lazy.compactMap(\.python).first) }
        try addTables(of: processes.values.lazy.map(\.mappings).joined())
        let until = MonotonicClock.now() + Self.besidesTime
        try addTables(of: besides, upTo: Self.memoryCeiling / 2) { MonotonicClock.now() < until }
        var replaced = InnerMapChanges()
        // A process without code has just ended: its last code stays.
        for (process, code) in processes.sorted(by: { $0.key < $1.key }) where !code.mappings.isEmpty {
            let cells = code.mappings.prefix(Int(KILN_MAPPINGS_CAPACITY)).map(cell)
            if code.mappings.count > cells.count { cutOff[process] = max(cutOff[process] ?? 0, code.mappings.count - cells.count) }
            if let known = current[process], known.layer == code.layer, Self.areEqual(known.cells, cells) { continue }
            generation += 1
            var header = kiln_mappings_header()
            header.count = UInt64(cells.count)
            header.generation = generation
            header.reading = code.reading
            header.layer = code.layer
            let size = MemoryLayout<kiln_mapping>.size
            let map = try InnerMap(named: "process_code", valueSize: size, entries: cells.count + 1) { memory in
                memory.storeBytes(of: header, as: kiln_mappings_header.self)
                cells.withUnsafeBytes { UnsafeMutableRawBufferPointer(rebasing: memory[size...]).copyMemory(from: $0) }
            }
            replaced.set(UInt32(process), to: map)
            current[process] = (code.layer, cells)
            if replaced.count == Self.changesAtOnce { try replaced.apply(to: mappings) }
        }
        for process in ended { try setInterpreter(of: process, nil) }
        for process in ended where current.removeValue(forKey: process) != nil {
            replaced.set(UInt32(process), to: try anotherNoCode())
            if replaced.count == Self.changesAtOnce { try replaced.apply(to: mappings) }
        }
        try replaced.apply(to: mappings)
    }

    private func setInterpreter(of process: Int, _ python: kiln_python?) throws(KernelError) {
        guard let pythons, interpreters[process] != python?.first_interpreter else { return }
        if let python { try pythons.update(UInt32(process), python) } else { pythons.remove(UInt32(process)) }
        interpreters[process] = python?.first_interpreter
    }

    /// Adds the tables of new files, up to `limit` bytes in all and while `mayGoOn` is true. The smallest files come first, and are in
    /// place before the largest are read.
    private func addTables(
        of code: some Sequence<CodeMapping>, upTo limit: Int = memoryCeiling, while mayGoOn: () -> Bool = { true }
    ) throws(KernelError) {
        var added = InnerMapChanges(), inPlace = MonotonicClock.now()
        var mappings = code.sorted { $0.piece?.file?.size ?? 0 < $1.piece?.file?.size ?? 0 }[...]
        var waiting: [CodeMapping] = []
        while let mapping = mappings.popFirst(), mayGoOn(), try addTable(of: mapping, upTo: limit, to: &added) {
            waiting.append(mapping)
            guard added.count == Self.changesAtOnce || MonotonicClock.now() - inPlace > Self.putInPlaceEvery else { continue }
            try putInPlace(&added, &waiting)
            inPlace = MonotonicClock.now()
        }
        try putInPlace(&added, &waiting)
    }

    private func putInPlace(_ added: inout InnerMapChanges, _ waiting: inout [CodeMapping]) throws(KernelError) {
        try added.apply(to: tables)
        for mapping in waiting { addPiece(of: mapping) }
        waiting = []
    }

    private func anotherNoCode() throws(KernelError) -> InnerMap {
        if let another = try noCode?.again() { return another }
        let made = try InnerMap(named: "no_code", valueSize: MemoryLayout<kiln_mapping>.size, entries: 1) { _ in }
        let another = try made.again()
        noCode = consume made
        return another
    }

    /// Returns false if the table does not fit into `limit` bytes. If it exceeds the limit of the session, the file is marked as having no
    /// table.
    private func addTable(
        of mapping: CodeMapping, upTo limit: Int = memoryCeiling, to added: inout InnerMapChanges
    ) throws(KernelError) -> Bool {
        guard let file = mapping.file, known[file] == nil else { return true }
        guard let table = mapping.table(), table.granules != 0 else {
            known[file] = .some(nil)
            return true
        }
        let size = InnerMap.pageRounded(table.cells.count * MemoryLayout<UInt64>.size)
        // Index 0 means "none".
        let index = UInt32(tableCount + 1)
        guard bytes + size <= limit, index < UInt32(KILN_UNWIND_TABLES) else {
            guard limit == Self.memoryCeiling else { return false }
            known[file] = .some(nil)
            leftOut += 1
            return true
        }
        let map = try InnerMap(named: "unwind_table", valueSize: 8, entries: table.cells.count) { memory in
            table.cells.withUnsafeBytes { memory.copyMemory(from: $0) }
        }
        added.set(index, to: map)
        bytes += size
        tableCount += 1
        known[file] = Table(index: index, granules: UInt32(table.granules), base: table.base)
        return true
    }

    /// Called when its table is in place. If there is no room, the code is found once its process's mappings are known.
    private func addPiece(of mapping: CodeMapping) {
        guard let knownCode, let piece = mapping.piece, let file = mapping.file, let table = known[file],
            pieces.insert(piece.number).inserted
        else { return }
        var key = kiln_code_piece(), value = kiln_known_code()
        key.file_offset = piece.fileOffset
        if let file = piece.file {
            key.inode = file.inode
            key.size = file.size
            key.modified_s = file.modifiedSeconds
            key.modified_ns = file.modifiedNanoseconds
            key.device = file.major << 20 | file.minor
        }
        value.number = UInt64(piece.number)
        value.address = piece.address
        if let table {
            value.address = piece.address &- table.base
            value.table = table.index
            value.granules = table.granules
        }
        do throws(KernelError) { try knownCode.update(key, value) } catch { unknownPieces.insert(piece.number) }
    }

    private func cell(_ mapping: CodeMapping) -> kiln_mapping {
        var cell = kiln_mapping()
        cell.start = mapping.start
        cell.end = mapping.end
        cell.bias = mapping.bias
        cell.inode = mapping.inode
        if let piece = mapping.piece, pieces.contains(piece.number), !unknownPieces.contains(piece.number) { cell.piece = UInt32(clamping: piece.number) }
        cell.granules = mapping.isGenerated ? UInt32(KILN_GENERATED_CODE) : 0
        guard let file = mapping.file, let table = known[file] ?? nil else { return cell }
        cell.bias = mapping.bias &+ table.base
        cell.table = table.index
        cell.granules = table.granules
        return cell
    }

    private static func areEqual(_ left: [kiln_mapping], _ right: [kiln_mapping]) -> Bool {
        left.count == right.count
            && zip(left, right).allSatisfy {
                $0.start == $1.start && $0.end == $1.end && $0.bias == $1.bias && $0.table == $1.table && $0.piece == $1.piece
                    && $0.inode == $1.inode && $0.granules == $1.granules
            }
    }
}
