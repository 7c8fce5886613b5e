/// Finds what a compiler wrote into files beside a program (`-gsplit-dwarf`): a `.dwo` file for each unit, where the program says that it is, or a package
/// of all (`.dwp`) beside the program. A file is used only if it has the unit's number.
final class SplitFiles {
    private let search: DebugFileSearch
    /// Paths of the program and of its debug file.
    private let programs: [String]
    private lazy var package: (sections: DwarfSections, index: DwarfPackageIndex)? = openPackage()

    init(_ search: DebugFileSearch, of programs: [String]) {
        self.search = search
        self.programs = programs
    }

    /// The rest of a unit of the program; nil if there is none, or if it is not to be had.
    func units(of skeleton: DwarfUnit) -> (units: DwarfUnits, unit: DwarfUnit)? {
        guard let place = skeleton.splitPlace else { return nil }
        func found(in sections: DwarfSections) -> (units: DwarfUnits, unit: DwarfUnit)? {
            let units = DwarfUnits(of: sections, skeleton: skeleton)
            return units.all.first { $0.hasCode && $0.identity == place.identity }.map { (units, $0) }
        }
        if let package, let parts = package.index.parts(of: place.identity), let sections = DwarfSections(of: package.sections, parts: parts),
            let found = found(in: sections)
        {
            return found
        }
        for path in paths(of: place) {
            for tree in search.trees {
                if let sections = open(path, in: tree), let found = found(in: sections) { return found }
            }
        }
        return nil
    }

    private func paths(of place: DwarfUnit.SplitPlace) -> [String] {
        let directories = programs.map { String($0[..<($0.lastIndex(of: "/") ?? $0.startIndex)]) }
        let file = String(place.name[(place.name.lastIndex(of: "/").map(place.name.index(after:)) ?? place.name.startIndex)...])
        var paths: [String] = []
        if place.name.hasPrefix("/") {
            paths = [place.name]
        } else {
            if let directory = place.directory, directory.hasPrefix("/") { paths = [directory + "/" + place.name] }
            paths += directories.map { $0 + "/" + place.name }
        }
        // A program and its files may have been copied together.
        return paths + directories.map { $0 + "/" + file }
    }

    private func openPackage() -> (sections: DwarfSections, index: DwarfPackageIndex)? {
        for program in programs {
            for tree in search.trees {
                if let sections = open(program + ".dwp", in: tree), let index = DwarfPackageIndex(sections[.unitIndex]) { return (sections, index) }
            }
        }
        return nil
    }

    private func open(_ path: String, in tree: FileTree) -> DwarfSections? {
        do throws(SymbolFileError) {
            return try DwarfSections(of: DebugFile(tree.open(path), at: path, named: tree.name + path), isSplit: true)
        } catch {
            return nil
        }
    }
}

/// Which parts of a package belong to which unit (DWARF 5 section 7.3.5, and GNU's form for DWARF 4).
struct DwarfPackageIndex {
    private let bytes: UnsafeRawBufferPointer
    private let columns, units, slots: UInt64
    private let kinds: [DwarfSections.Kind?]

    /// The bytes have to outlive this.
    init?(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count > 16 else { return nil }
        func header(_ index: Int) -> UInt32 { bytes.loadUnaligned(fromByteOffset: index * 4, as: UInt32.self) }
        let version = header(0)
        guard version == 2 || version == 5 else { return nil }
        self.bytes = bytes
        (columns, units, slots) = (UInt64(header(1)), UInt64(header(2)), UInt64(header(3)))
        guard slots > 0, slots & (slots - 1) == 0, columns < 16, 16 + slots * 12 + columns * 4 + units * columns * 8 <= UInt64(bytes.count) else { return nil }
        let names = 16 + Int(slots) * 12
        kinds = (0..<Int(columns)).map { column in
            switch bytes.loadUnaligned(fromByteOffset: names + column * 4, as: UInt32.self) {
            case 1: .entries
            case 3: .abbreviations
            case 6: .textOffsets
            case 8 where version == 5: .rangeLists
            default: nil
            }
        }
    }

    /// Nil if the package doesn't have the unit.
    func parts(of identity: UInt64) -> [(DwarfSections.Kind, offset: UInt64, size: UInt64)]? {
        let mask = slots - 1
        var slot = identity & mask
        let step = (identity >> 32) & mask | 1
        for _ in 0..<slots {
            let row = UInt64(word(16 + slots * 8 + slot * 4))
            if row == 0 { return nil }
            if bytes.loadUnaligned(fromByteOffset: 16 + Int(slot) * 8, as: UInt64.self) == identity { return row <= units ? parts(inRow: row) : nil }
            slot = (slot + step) & mask
        }
        return nil
    }

    private func parts(inRow row: UInt64) -> [(DwarfSections.Kind, offset: UInt64, size: UInt64)] {
        // The first row has the columns' names.
        let offsets = 16 + slots * 12 + row * columns * 4, sizes = offsets + units * columns * 4
        return kinds.enumerated().compactMap { column, kind in
            kind.map { ($0, UInt64(word(offsets + UInt64(column) * 4)), UInt64(word(sizes + UInt64(column) * 4))) }
        }
    }

    private func word(_ place: UInt64) -> UInt32 { bytes.loadUnaligned(fromByteOffset: Int(place), as: UInt32.self) }
}
