import CElfutils
import SystemPackage

/// The function symbols of one ELF file, searchable by address.
///
/// The address space is divided into disjoint ranges, each with one symbol (SymbolRanges.swift has the rules), so a lookup is a single
/// binary search. Addresses are ELF virtual addresses, as in `nm`; `address(ofFileOffset:)` converts to them.
public struct SymbolTable: Sendable {
    /// A function that covers an address.
    public struct Match: Equatable, Sendable {
        public let name: String
        /// The address of the function's first byte.
        public let start: UInt64

        public init(name: String, start: UInt64) {
            self.name = name
            self.start = start
        }
    }

    /// The file has no .symtab, so static functions have no name.
    public let hasOnlyDynamicSymbols: Bool
    /// The reason why stripped symbols could not be read, though they exist.
    public let problem: SymbolFileError?
    /// The number of named functions, with aliases resolved.
    public var functionCount: Int { symbols.count }

    /// The file has Go's table of functions.
    let isGo: Bool
    private let segments: LoadableSegments
    /// The starts of the ranges, sorted. A range ends where the next one starts.
    private let rangeStarts: [UInt64]
    /// For each range the index of its symbol, or `noSymbol`.
    private let rangeOwners: [UInt32]
    private let symbols: [NamedAddress]
    /// The concatenated string tables, which contain the names.
    private let strings: [UInt8]

    static let noSymbol = UInt32.max

    /// Reads the symbols of an open file, including those in its .gnu_debugdata. `name` appears in errors.
    public init(reading file: FileDescriptor, named name: String) throws(SymbolFileError) {
        let elf = try ElfFile(reading: file, named: name)
        try self.init(elf, debugFile: .none)
    }

    /// Reads the symbols of an ELF file in memory.
    public init(image: [UInt8], named name: String) throws(SymbolFileError) {
        let elf = try ElfFile(image: image, named: name)
        try self.init(elf, debugFile: .none)
    }

    /// The address to which a byte of the file is loaded, before relocation; nil outside the loadable segments. See `LoadableSegments`.
    public func address(ofFileOffset offset: UInt64) -> UInt64? { segments.address(ofFileOffset: offset) }

    /// The function whose bytes include an address. Nil after a symbol's end, even if it is the nearest.
    public func function(at address: UInt64) -> Match? {
        guard let range = rangeStarts.lastIndex(startingAtOrBelow: address, start: { $0 }),
            rangeOwners[range] != Self.noSymbol
        else { return nil }
        let symbol = symbols[Int(rangeOwners[range])]
        return Match(name: text(of: symbol), start: symbol.address)
    }

    /// If the file has only dynamic symbols, the others come from its debug file, its .gnu_debugdata, or a fetched debug file.
    init(
        _ elf: borrowing ElfFile, debugFile: @autoclosure () -> DebugFileSearch.Result, fetched: @autoclosure () -> DebugFileSearch.Result = .none
    ) throws(SymbolFileError) {
        segments = LoadableSegments(try elf.segments())
        var problem: SymbolFileError?
        let go = try elf.goFunctionTable()
        isGo = go != nil
        // Go's own table has what servers could tell.
        var found = try SymbolCandidates(
            of: elf, try elf.sections(), debugFile: debugFile, fetched: { go == nil ? fetched() : .none }, problem: &problem)
        if !found.hasFullTable, let go { found.read(go) }
        let ranges = SymbolRanges(resolving: found)
        hasOnlyDynamicSymbols = !found.hasFullTable
        self.problem = problem
        rangeStarts = ranges.starts
        rangeOwners = ranges.owners
        symbols = ranges.symbols
        strings = found.strings
    }

    private func text(of symbol: NamedAddress) -> String {
        let name = String(decoding: strings[symbol.name], as: UTF8.self)
        return symbol.isLinkageStub ? name + "@plt" : name
    }
}

/// A symbol after aliases were resolved: 16 bytes each.
struct NamedAddress: Sendable {
    let address: UInt64
    let nameOffset: UInt32
    let nameLength: UInt16
    let isLinkageStub: Bool

    var name: Range<Int> { Int(nameOffset)..<Int(nameOffset) + Int(nameLength) }
}

extension UInt64 {
    func saturatingAdd(_ other: UInt64) -> UInt64 {
        let (sum, overflow) = addingReportingOverflow(other)
        return overflow ? .max : sum
    }
}
