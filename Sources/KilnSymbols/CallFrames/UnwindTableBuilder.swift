import KilnBPF

/// Converts a file's call frame information into the rows and the index of an unwind table.
struct UnwindTableBuilder {
    enum Problem: Error {
        /// An entry's length exceeds its section, at this offset in bytes.
        case overrun(section: String, offset: Int)
        /// The distance from the first to the last byte of code is too large.
        case tooWide(bytes: UInt64)
    }

    private(set) var base: UInt64 = 0
    private(set) var granuleCount = 0
    private(set) var rows: [kiln_unwind_row] = []
    private(set) var malformedCount = 0
    private let architecture: CallFrameArchitecture
    private let encoder: UnwindRowEncoder

    /// Shorter gaps between functions are padding, which never executes; rows for them would double a table.
    private static let smallestGap: UInt64 = 16

    /// In files with call frame information rows are derived for larger gaps only: each stock file has 200 bytes of the compiler's start-up code without.
    private static let smallestDerivedGap: UInt64 = 256

    init(_ architecture: CallFrameArchitecture) {
        self.architecture = architecture
        encoder = UnwindRowEncoder(architecture: architecture)
    }

    /// How much of the code at the entry point belongs to it where nothing says where it ends: crt1's _start has 38 bytes.
    private static let longestEntry: UInt64 = 64

    /// `entry`: where the program starts, which nothing calls; nil for a library. `word` reads a word of the file by its address. `derivable`: code for which
    /// rows are to be derived where call frame information leaves it out, by `derive`: sorted, the first at the range's start.
    mutating func build(
        from sections: [CallFrameSection], code: [Range<UInt64>], entry: UInt64?, derivable: [Range<UInt64>],
        derive: (Range<UInt64>) -> [(address: UInt64, row: kiln_unwind_row)], word: (UInt64) -> UInt64?
    ) throws(Problem) {
        var entries = CallFrameEntries(architecture, code: code)
        for section in sections {
            do throws(CallFrameEntries.Overrun) {
                try entries.scan(section, word: word)
            } catch {
                throw .overrun(section: section.isDebugFrame ? ".debug_frame" : ".eh_frame", offset: error.offset)
            }
        }
        malformedCount = entries.malformedCount
        let outermost = Self.outermost(entry, entries.functions, code)
        let ends = entries.functions.map { $0.start..<$0.end } + (outermost.map { [$0] } ?? []) + derivable
        guard let lowest = ends.map(\.lowerBound).min(), let highest = ends.map(\.upperBound).max() else { return }
        let granule: UInt64 = 1 << UInt64(KILN_UNWIND_GRANULE_SHIFT)
        base = lowest & ~(granule - 1)
        // Index and rows are counted with 32 bits, too, but there are fewer of both than bytes of code.
        guard highest - base <= UInt64(UInt32.max) else { throw .tooWide(bytes: highest - base) }
        granuleCount = Int((highest - base + granule - 1) / granule)
        let order = Self.withoutDuplicates(Self.sorted(entries.functions, from: base), of: entries.functions)
        addRows(of: entries, in: order)
        if !derivable.isEmpty {
            let smallest = order.isEmpty ? Self.smallestGap : Self.smallestDerivedGap
            let gaps = Self.gaps(in: derivable, between: order.lazy.map { entries.functions[Int($0 & 0xffff_ffff)] }, smallest)
            if !gaps.isEmpty { insert(gaps.map { ($0, derive($0)) }) }
        }
        if let outermost { end(in: outermost) }
    }

    /// The parts of code between functions, which are sorted by start. Padding is left out.
    private static func gaps(in code: [Range<UInt64>], between functions: some Sequence<FunctionFrameEntry>, _ smallest: UInt64) -> [Range<UInt64>] {
        var gaps: [Range<UInt64>] = []
        var rest = code.sorted { $0.lowerBound < $1.lowerBound }[...]
        var covered: UInt64 = 0
        func close(before start: UInt64) {
            while let section = rest.first {
                let from = max(section.lowerBound, covered), until = min(section.upperBound, start)
                if until > from, until - from >= smallest { gaps.append(from..<until) }
                if section.upperBound > start { break }
                rest.removeFirst()
            }
        }
        for function in functions {
            close(before: function.start)
            covered = max(covered, function.end)
        }
        close(before: .max)
        return gaps
    }

    /// Replaces the rows of ranges, sorted and apart from each other, by others.
    private mutating func insert(_ pieces: [(range: Range<UInt64>, rows: [(address: UInt64, row: kiln_unwind_row)])]) {
        let old = rows
        var next = 0, inForce = kiln_unwind_row.none
        rows = []
        rows.reserveCapacity(old.count + pieces.reduce(0) { $0 + $1.rows.count + 1 })
        func pc(_ address: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: address - base) }
        for (range, derived) in pieces where !derived.isEmpty {
            while next < old.count, old[next].pc < pc(range.lowerBound) {
                inForce = old[next]
                append(inForce, from: base + UInt64(inForce.pc))
                next += 1
            }
            for (address, row) in derived { append(row, from: address) }
            while next < old.count, old[next].pc <= pc(range.upperBound) {
                inForce = old[next]
                next += 1
            }
            if range.upperBound - base < UInt64(granuleCount) << UInt64(KILN_UNWIND_GRANULE_SHIFT) { append(inForce, from: range.upperBound) }
        }
        for row in old[next...] { append(row, from: base + UInt64(row.pc)) }
        if let first = rows.first, first.pc > 0 { rows.insert(.none, at: 0) }
    }

    /// The code that begins at the entry point, of which many programs' call frame information doesn't say that it is the outermost (Zig), or says nothing.
    /// Nil: a function begins before and goes on behind it.
    private static func outermost(_ entry: UInt64?, _ functions: [FunctionFrameEntry], _ code: [Range<UInt64>]) -> Range<UInt64>? {
        guard let entry, let section = code.first(where: { $0.contains(entry) }) else { return nil }
        if let own = functions.first(where: { $0.start == entry }) { return own.start..<own.end }
        if functions.contains(where: { $0.start < entry && $0.end > entry }) { return nil }
        let next = functions.lazy.map(\.start).filter { $0 > entry }.min() ?? .max
        return entry..<min(section.upperBound, next, entry.saturatingAdd(longestEntry))
    }

    /// Replaces the rows of a range by one that ends the stack.
    private mutating func end(in range: Range<UInt64>) {
        let start = UInt32(truncatingIfNeeded: range.lowerBound - base), end = UInt32(truncatingIfNeeded: range.upperBound - base)
        let first = rows.firstIndex { $0.pc >= start } ?? rows.endIndex
        let behind = rows.firstIndex { $0.pc > end } ?? rows.endIndex
        var last = rows[..<behind].last ?? .none, outermost = kiln_unwind_row.outermost
        last.pc = end
        outermost.pc = start
        let tail = end < UInt32(truncatingIfNeeded: granuleCount << Int(KILN_UNWIND_GRANULE_SHIFT)) ? [last] : []
        rows.replaceSubrange(first..<behind, with: [outermost] + tail)
        if rows[0].pc > 0 { rows.insert(.none, at: 0) }
    }

    /// Functions sorted by start; for the same start, by position in the file.
    private static func sorted(_ functions: [FunctionFrameEntry], from base: UInt64) -> [UInt64] {
        var keys: [UInt64] = []
        keys.reserveCapacity(functions.count)
        for (index, function) in functions.enumerated() {
            keys.append((function.start - base) << 32 | UInt64(index))
        }
        keys.sort()
        return keys
    }

    /// Removes duplicates: .debug_frame fills only the gaps of .eh_frame, and of several entries for the same code the first one counts.
    private static func withoutDuplicates(_ order: [UInt64], of functions: [FunctionFrameEntry]) -> [UInt64] {
        var kept: [UInt64] = []
        kept.reserveCapacity(order.count)
        var loadedUntil: UInt64 = 0
        var last: UInt64?
        for key in order where key >> 32 != last {
            let function = functions[Int(key & 0xffff_ffff)]
            if function.isFromDebugFrame {
                if function.start < loadedUntil { continue }
            } else {
                loadedUntil = max(loadedUntil, function.end)
            }
            last = key >> 32
            kept.append(key)
        }
        return kept
    }

    private mutating func addRows(of entries: borrowing CallFrameEntries, in order: [UInt64]) {
        rows.reserveCapacity(order.count * 6)
        var program = CallFrameProgram(architecture)
        var covered = base
        for (position, key) in order.enumerated() {
            let function = entries.functions[Int(key & 0xffff_ffff)]
            let gap = function.start - covered
            if gap >= Self.smallestGap || position == 0 && gap > 0 { append(.none, from: covered) }
            // A search by start finds the entry that starts last, so an entry ends where the next one starts. Other unwinders, which search
            // the linker's table, treat overlapping entries in the same way.
            let next = position + 1 < order.count ? base + order[position + 1] >> 32 : UInt64.max
            covered = min(function.end, next)
            let reader = DwarfReader(
                from: function.instructions, to: function.instructions + Int(function.instructionCount))
            addRows(from: function.start, until: covered, reader, entries.common[Int(function.common)], &program)
        }
        // Not if the last function ends with the last granule: nothing after it is ever looked up.
        if covered - base < UInt64(granuleCount) << UInt64(KILN_UNWIND_GRANULE_SHIFT) { append(.none, from: covered) }
    }

    private mutating func addRows(
        from start: UInt64, until end: UInt64, _ instructions: DwarfReader, _ common: CommonFrameEntry,
        _ program: inout CallFrameProgram
    ) {
        guard common.isUsable else { return append(.unsupported, from: start) }
        program.start(instructions, in: common.initial)
        var location = start
        while location < end {
            let next: UInt64
            switch program.run(of: common) {
            case .advance(let count):
                if count == 0 { continue }
                next = location.saturatingAdd(count)
            case .location(let address):
                if address == location { continue }
                next = address
            case .end:
                next = end
            case .malformed:
                next = 0
            }
            // Rows before an error stay; the state at the error is unknown.
            guard next > location else {
                malformedCount += 1
                return append(.unsupported, from: location)
            }
            append(program.row(encoder, isSignalFrame: common.isSignalFrame), from: location)
            location = next
        }
    }

    /// Adds a row, unless it equals the previous one.
    @inline(__always)
    private mutating func append(_ row: kiln_unwind_row, from address: UInt64) {
        if let last = rows.last, last.offset == row.offset, last.frame_pointer == row.frame_pointer, last.rule == row.rule {
            return
        }
        var row = row
        row.pc = UInt32(truncatingIfNeeded: address - base)
        rows.append(row)
    }

    /// The index and the rows.
    func cells() -> [UInt64] {
        guard granuleCount > 0 else { return [0] }
        return [UInt64](unsafeUninitializedCapacity: granuleCount + rows.count) { cells, count in
            var row = 0
            for granule in 0..<granuleCount {
                let first = row
                while row < rows.count, rows[row].pc >> UInt32(KILN_UNWIND_GRANULE_SHIFT) == UInt32(granule) { row += 1 }
                let entry = kiln_unwind_granule(first: UInt32(granuleCount + first), end: UInt32(granuleCount + row))
                cells[granule] = unsafeBitCast(entry, to: UInt64.self)
            }
            let behindIndex = UnsafeMutableRawBufferPointer(UnsafeMutableBufferPointer(rebasing: cells[granuleCount...]))
            rows.withUnsafeBytes { behindIndex.copyMemory(from: $0) }
            count = granuleCount + rows.count
        }
    }
}

extension kiln_unwind_row {
    /// Code without call frame information.
    static var none: kiln_unwind_row { UnwindRowEncoder.row(KILN_UNWIND_NONE) }
    /// The program's beginning: there is no caller.
    static var outermost: kiln_unwind_row { UnwindRowEncoder.row(KILN_UNWIND_END) }
    /// Code whose call frame information a row can't express.
    static var unsupported: kiln_unwind_row { UnwindRowEncoder.row(KILN_UNWIND_UNSUPPORTED) }
}

extension UnwindTableBuilder.Problem {
    var asFileProblem: SymbolFileError.Problem {
        switch self {
        case .overrun(let section, let offset):
            .broken("the entry at offset \(offset) of \(section) runs beyond the section's end")
        case .tooWide(let bytes):
            .unsupported("its code spans \(bytes) bytes, and an unwind table reaches no further than 4 GiB")
        }
    }
}
