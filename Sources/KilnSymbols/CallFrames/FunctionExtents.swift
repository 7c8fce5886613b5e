/// Where each function of a file begins and ends, by its call frame information (.eh_frame, .debug_frame, Go's table of functions): also of functions
/// that no symbol names, because every stock program keeps this information.
struct FunctionExtents: Sendable {
    /// ELF virtual addresses, sorted by start; of several entries with one start the longest.
    let functions: [Range<UInt64>]

    /// Empty for a file without call frame information, or of another architecture. Of malformed information what can be read is kept.
    init(_ elf: borrowing ElfFile) throws(SymbolFileError) {
        let machine = elf.header.e_machine
        guard let architecture = CallFrameArchitecture.all.first(where: { $0.machine == machine }), elf.isLittleEndian64Bit else {
            functions = []
            return
        }
        let loadable = LoadableSegments(try elf.segments()), go = try elf.goFrameSection()
        var entries = CallFrameEntries(architecture, code: loadable.code(inFileOfSize: elf.size))
        for section in try (go.map { [$0.section] } ?? []) + elf.callFrameSections(loadable) {
            // An entry that runs beyond its section hides those behind it.
            try? entries.scan(section) { elf.word(at: $0, loadable) }
        }
        withExtendedLifetime(go) {}
        var found: [Range<UInt64>] = []
        found.reserveCapacity(entries.functions.count)
        for entry in entries.functions.sorted(by: { ($0.start, $1.end) < ($1.start, $0.end) }) where found.last?.lowerBound != entry.start {
            found.append(entry.start..<entry.end)
        }
        functions = found
    }

    /// The function that an address lies in; of overlapping ones that which begins last.
    func function(at address: UInt64) -> Range<UInt64>? {
        guard let index = functions.lastIndex(startingAtOrBelow: address, start: \.lowerBound), functions[index].contains(address) else { return nil }
        return functions[index]
    }
}
