/// What the entries of debugging information have, by the number with which they begin (DWARF 5 section 7.5.3). Read as far as numbers are asked for.
final class DwarfAbbreviations {
    struct Attribute {
        let name: UInt16
        let form: DwarfForm
        /// The value, if the form has it here.
        let implicit: Int64
    }

    struct Abbreviation {
        let tag: UInt16
        let hasChildren: Bool
        fileprivate let attributes: Range<Int>
        /// Steps over all attributes.
        fileprivate let skips: Range<Int>
    }

    let format: DwarfFormat
    private var reader: DwarfReader?
    // These are read for each of millions of entries. Swift's run-time checks for overlapping accesses would take longer than the reads. Only `next` and
    // `readOn` change them, and they call no code that reads them.
    @exclusivity(unchecked) private var attributes: [Attribute] = []
    @exclusivity(unchecked) private var skips: [DwarfSkip] = []
    @exclusivity(unchecked) private var abbreviations: [Abbreviation] = []
    /// Compilers number them 1, 2, 3…; those that are numbered otherwise are here.
    @exclusivity(unchecked) private var others: [UInt64: Int] = [:]

    /// `sections` has to outlive this.
    init(in sections: DwarfSections, at offset: UInt64, _ format: DwarfFormat) {
        self.format = format
        reader = sections.reader(.abbreviations, at: offset)
    }

    /// Nil for a number that is not there.
    @inline(__always)
    func abbreviation(_ code: UInt64) -> Abbreviation? {
        if code <= UInt64(abbreviations.count), code > 0, others.isEmpty { return abbreviations[Int(code) - 1] }
        return readOn(to: code)
    }

    @inline(__always)
    func attributes(of abbreviation: Abbreviation) -> ArraySlice<Attribute> { attributes[abbreviation.attributes] }

    /// Leads a reader that is behind the number of an entry behind the whole entry.
    @inline(__always)
    func skip(_ abbreviation: Abbreviation, _ reader: inout DwarfReader) {
        for index in abbreviation.skips { reader.skip(skips[index], format) }
    }

    private func readOn(to code: UInt64) -> Abbreviation? {
        if let known = others[code] { return abbreviations[known] }
        while let (found, number) = next() {
            let place = abbreviations.count
            abbreviations.append(found)
            if !others.isEmpty || number != UInt64(place) + 1 {
                if others.isEmpty { for index in 0..<place { others[UInt64(index) + 1] = index } }
                others[number] = others[number] ?? place
            }
            if number == code { return abbreviations[others[code] ?? place] }
        }
        return nil
    }

    private func next() -> (Abbreviation, code: UInt64)? {
        guard var reader else { return nil }
        let code = reader.unsignedLEB(), tag = reader.unsignedLEB(), children = reader.number(UInt8.self)
        let firstAttribute = attributes.count, firstSkip = skips.count
        var bytes: UInt32 = 0
        while !reader.hasFailed, code != 0 {
            let name = reader.unsignedLEB(), number = reader.unsignedLEB()
            if name == 0, number == 0 { break }
            guard let form = UInt16(exactly: number).flatMap(DwarfForm.init) else {
                // What follows a value of unknown length can't be found.
                self.reader = nil
                return nil
            }
            attributes.append(Attribute(name: UInt16(truncatingIfNeeded: name), form: form, implicit: form == .implicit ? reader.signedLEB() : 0))
            let step = DwarfSkip(form, format)
            if case .bytes(let count) = step {
                bytes &+= count
            } else {
                if bytes > 0 { skips.append(.bytes(bytes)) }
                bytes = 0
                skips.append(step)
            }
        }
        if bytes > 0 { skips.append(.bytes(bytes)) }
        guard !reader.hasFailed, code != 0 else {
            self.reader = nil
            return nil
        }
        self.reader = reader
        let found = Abbreviation(
            tag: UInt16(truncatingIfNeeded: tag), hasChildren: children != 0, attributes: firstAttribute..<attributes.count, skips: firstSkip..<skips.count)
        return (found, code)
    }
}
