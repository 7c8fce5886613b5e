/// A range of executable address space and the origin of its code.
struct PlacedCode {
    enum Source {
        case file(MappedFile)
        case nothing(UnknownReason)
    }

    let mapping: Mapping
    let source: Source
    /// The name of the file; nil for anonymous memory.
    let module: String?
    /// The part of the mapping that still has this code: a later mapping may have replaced the rest.
    private(set) var start: UInt64
    private(set) var end: UInt64

    /// `executed`: the program of the process, which has the name by which it was executed.
    init(mapping: Mapping, source: Source, executed: ExecutedName? = nil) {
        self.mapping = mapping
        self.source = source
        if let executed, case .file(let file) = source, file.identity == executed.file {
            module = executed.name
        } else {
            module = mapping.moduleName
        }
        start = mapping.start
        end = mapping.end
    }

    /// Whether both pieces have the same code at the same address: the same part of the same file, or both generated code.
    func isSameCode(as other: PlacedCode) -> Bool {
        let isInPlace = fileOffset(of: other.mapping.start) == other.mapping.fileOffset
        return switch (source, other.source) {
        case (.file(let one), .file(let another)): one === another && isInPlace
        case (.nothing, .nothing):
            // Memory without a file counts as the same: its functions are told apart by the compiler's map.
            mapping.inode == other.mapping.inode && mapping.device == other.mapping.device && (mapping.inode == 0 || isInPlace)
        default: false
        }
    }

    /// The file; nil for memory without one.
    var file: CodeFile? {
        guard let module else { return nil }
        guard case .file(let path, _) = mapping.backing, path.split(separator: "/").last.map(String.init) == module else {
            return CodeFile(path: module, buildID: buildID)
        }
        return CodeFile(path: path, buildID: buildID)
    }

    private var buildID: String? {
        guard case .file(let file) = source else { return nil }
        return file.buildID?.description
    }

    func fileOffset(of address: UInt64) -> UInt64 { address &- mapping.start &+ mapping.fileOffset }

    /// The part between two addresses; nil if it is empty.
    func part(from low: UInt64, to high: UInt64) -> PlacedCode? {
        var part = self
        part.start = max(start, low)
        part.end = min(end, high)
        return part.start < part.end ? part : nil
    }
}

/// The executable address space of a process, present and past.
///
/// Stacks sampled before the last refresh may contain addresses that are unmapped now. So old code stays until new code replaces it. Other code
/// in its place is another layer's (`CodeLayers`).
struct CodeMap {
    /// Sorted and disjoint.
    private(set) var pieces: [PlacedCode] = []

    var isEmpty: Bool { pieces.isEmpty }

    func code(at address: UInt64) -> PlacedCode? {
        guard let index = pieces.lastIndex(startingAtOrBelow: address, start: \.start) else { return nil }
        return address < pieces[index].end ? pieces[index] : nil
    }

    /// The code that a mapping had at the last refresh, if it existed.
    func placement(of mapping: Mapping) -> PlacedCode? {
        guard let index = pieces.lastIndex(startingAtOrBelow: mapping.start, start: \.start) else { return nil }
        let piece = pieces[index]
        return piece.mapping == mapping && piece.start == mapping.start && piece.end == mapping.end ? piece : nil
    }

    /// Whether none of the present mappings (sorted, disjoint) has other code than is known at its addresses.
    func agrees(with current: [PlacedCode]) -> Bool {
        var old = pieces[...]
        for new in current {
            while let piece = old.first, piece.end <= new.start { old.removeFirst() }
            for piece in old.prefix(while: { $0.start < new.end }) where !piece.isSameCode(as: new) { return false }
        }
        return true
    }

    func isSame(as other: CodeMap) -> Bool {
        pieces.elementsEqual(other.pieces) { $0.start == $1.start && $0.end == $1.end && $0.mapping == $1.mapping && $0.isSameCode(as: $1) }
    }

    /// Places the present mappings (sorted, disjoint) over the known ones.
    mutating func replace(by current: [PlacedCode]) {
        var merged: [PlacedCode] = []
        merged.reserveCapacity(current.count)
        var old = pieces[...]
        /// The first address after all present mappings so far.
        var free: UInt64 = 0

        for new in current {
            Self.keep(&old, from: free, to: new.start, into: &merged)
            merged.append(new)
            free = new.end
        }
        Self.keep(&old, from: free, to: .max, into: &merged)
        pieces = merged
    }

    /// Keeps the old pieces between two addresses, and skips those that end there.
    private static func keep(
        _ old: inout ArraySlice<PlacedCode>, from low: UInt64, to high: UInt64, into merged: inout [PlacedCode]
    ) {
        while let piece = old.first, piece.start < high {
            if let part = piece.part(from: low, to: high) { merged.append(part) }
            if piece.end > high { return }
            old.removeFirst()
        }
    }
}

extension CodeMap {
    /// The name of a frame from the mapped files, or the reason why it has none.
    func symbol(_ frame: FrameAddress) -> Symbol {
        guard let placed = code(at: frame.lookupAddress) else {
            return .unknown(address: frame.address, reason: .noMapping)
        }
        // A return address may lie just after the mapping, so its offset is relative to the lookup address.
        let behindLookup = frame.address - frame.lookupAddress
        let fileOffset = placed.fileOffset(of: frame.lookupAddress)
        guard let module = placed.module else {
            return .unknown(address: frame.address, reason: .anonymousMemory)
        }
        func unnamed(_ offset: UInt64, _ reason: UnknownReason) -> Symbol {
            .module(name: module, offset: offset &+ behindLookup, reason: reason)
        }
        switch placed.source {
        case .nothing(let reason):
            return unnamed(fileOffset, reason)
        case .file(let file):
            switch file.table() {
            case .failure(let error):
                return unnamed(fileOffset, .unreadable(error))
            case .success(let table):
                guard let address = table.address(ofFileOffset: fileOffset) else {
                    return unnamed(fileOffset, .outsideSegments)
                }
                guard let match = table.function(at: address) else {
                    if let part = file.pythonSymbols()?.movedPart, part.contains(address) {
                        return .function(name: PythonSymbols.nameOfMovedPart, module: module, offset: address - part.lowerBound + behindLookup)
                    }
                    if let function = file.unnamedFunction(at: address) {
                        return .module(name: module, offset: function.lowerBound, reason: table.reasonForNoFunction)
                    }
                    return unnamed(address, table.reasonForNoFunction)
                }
                return .function(name: match.name, module: module, offset: address - match.start + behindLookup)
            }
        }
    }

    /// Functions inlined into the frame's function at its address, and places in source code.
    func source(_ frame: FrameAddress) -> (frames: SourceFrames, module: String)? {
        guard let placed = code(at: frame.lookupAddress), let module = placed.module, case .file(let file) = placed.source,
            case .success(let table) = file.table(),
            let address = table.address(ofFileOffset: placed.fileOffset(of: frame.lookupAddress))
        else { return nil }
        return (file.sourceFrames(at: address), module)
    }

    /// A frame's function, by its name `symbol`, and those that are inlined there, the innermost last.
    func frames(_ frame: FrameAddress, named symbol: Symbol) -> [PlacedSymbol] {
        let file = code(at: frame.lookupAddress)?.file
        guard let (source, module) = source(frame) else { return [PlacedSymbol(symbol: symbol, file: file)] }
        return zip([symbol] + source.inlined.map { .inlined(name: $0, module: module) }, source.places).map { PlacedSymbol(symbol: $0, place: $1, file: file) }
    }
}

/// Code that was found in a process where its mappings had not been read, or had other code.
public struct FoundMappings {
    private(set) var code = CodeMap()

    public init() {}

    /// The same piece of a file as `known`, mapped at other addresses.
    public mutating func add(_ known: ExecutableMapping, from start: UInt64, to end: UInt64) {
        let line = known.mapping
        let mapping = Mapping(
            start: start, end: end, fileOffset: line.fileOffset, permissions: line.permissions, device: line.device, inode: line.inode,
            backing: line.backing
        )
        guard let file = known.file, start < end else { return }
        code.replace(by: [PlacedCode(mapping: mapping, source: .file(file.mapped))])
    }

    /// Memory without a file.
    public mutating func addMemory(from start: UInt64, to end: UInt64) {
        let mapping = Mapping(
            start: start, end: end, fileOffset: 0, permissions: [.read, .execute], device: .init(major: 0, minor: 0), inode: 0, backing: .anonymous
        )
        if start < end { code.replace(by: [PlacedCode(mapping: mapping, source: .nothing(.anonymousMemory))]) }
    }

    /// Whether code is known at the frame's address.
    public func covers(_ frame: FrameAddress) -> Bool { code.code(at: frame.lookupAddress) != nil }

    /// Like `Symbolizer.frames`.
    public func frames(_ frame: FrameAddress) -> [PlacedSymbol] { code.frames(frame, named: code.symbol(frame)) }
}
