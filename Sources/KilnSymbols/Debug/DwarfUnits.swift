/// The units of one file, by their places.
final class DwarfUnits {
    private struct TablePlace: Hashable {
        let offset: UInt64
        let format: DwarfFormat
    }

    /// In the order of the file.
    let all: [DwarfUnit]

    /// `skeleton`: the unit of the program to which those of a split file belong.
    init(of sections: DwarfSections, skeleton: DwarfUnit? = nil) {
        var tables: [TablePlace: DwarfAbbreviations] = [:]
        var all: [DwarfUnit] = []
        var offset: UInt64 = 0
        while let unit = DwarfUnit(
            in: sections, at: offset, skeleton: skeleton,
            abbreviations: { place, format in
                let key = TablePlace(offset: place, format: format)
                if let known = tables[key] { return known }
                let table = DwarfAbbreviations(in: sections, at: place, format)
                tables[key] = table
                return table
            })
        {
            all.append(unit)
            offset = unit.end
        }
        self.all = all
    }

    /// The unit that has the entry at an offset of the section.
    func unit(at offset: UInt64) -> DwarfUnit? {
        guard let index = all.lastIndex(startingAtOrBelow: offset, start: \.start), offset < all[index].end else { return nil }
        return all[index]
    }
}
