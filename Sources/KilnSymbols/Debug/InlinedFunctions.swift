import CElfutils

/// The functions inlined at an address, and lines, from a file's debugging information (DWARF), read through libdw.
///
/// A lookup takes three steps: an index of all compilation units, built at the first lookup; an index of one unit's functions, built at the
/// first lookup in that unit; and a walk through the one function. Split debugging information (.dwo and .dwp files) is not read.
final class InlinedFunctions {
    private let dwarf: OpaquePointer
    private let file: DebugFile
    /// A file with parts that `file` shares with others.
    private let shared: (dwarf: OpaquePointer, file: DebugFile)?
    /// Offsets of the units' first entries.
    private lazy var units: RangeIndex<Dwarf_Off> = indexUnits()
    /// By unit: offsets of its functions' entries.
    private var functions: [Dwarf_Off: RangeIndex<Dwarf_Off>] = [:]

    /// No compiler nests blocks deeper; a file that does is hostile.
    private static let deepest = 256

    /// The plain section, and the one with the older compression.
    private static let entrySections = [".debug_info", ".zdebug_info"]

    /// Nil if the file has no debugging information.
    init?(_ file: DebugFile, shared sharedFile: DebugFile?) {
        // libdw also opens files that have only .debug_line.
        guard Self.entrySections.contains(where: { (try? file.elf.bytes(ofSectionNamed: $0)) != nil }),
            let dwarf = file.elf.beginDebugInformation()
        else { return nil }
        self.dwarf = dwarf
        self.file = file
        if let sharedFile, let other = sharedFile.elf.beginDebugInformation() {
            dwarf_setalt(dwarf, other)
            shared = (other, sharedFile)
        } else {
            shared = nil
        }
    }

    deinit {
        dwarf_end(dwarf)
        if let shared { dwarf_end(shared.dwarf) }
    }

    /// What the source code has at an address (an ELF virtual address); nil if it is in no unit.
    func frames(at address: UInt64) -> SourceFrames? {
        guard let unit = units.value(at: address) else { return nil }
        var frames = SourceFrames(inlined: [], places: [])
        var function = Dwarf_Die()
        if let offset = functions(of: unit).value(at: address), dwarf_offdie(dwarf, offset, &function) != nil {
            descend(function, to: address, depth: 0, &frames)
        }
        frames.places.append(line(at: address, in: unit))
        return frames
    }

    /// The line of source code from which an instruction was made.
    private func line(at address: UInt64, in unit: Dwarf_Off) -> SourcePlace? {
        var entry = Dwarf_Die(), number: Int32 = 0
        guard dwarf_offdie(dwarf, unit, &entry) != nil, let line = dwarf_getsrc_die(&entry, address), dwarf_lineno(line, &number) == 0, number > 0,
            let file = dwarf_linesrc(line, nil, nil)
        else { return nil }
        return SourcePlace(file: String(cString: file), line: Int(number))
    }

    /// Where an inlined function is called.
    private func call(of entry: inout Dwarf_Die) -> SourcePlace? {
        var attribute = Dwarf_Attribute(), line: Dwarf_Word = 0, file: Dwarf_Word = 0, unit = Dwarf_Die()
        guard dwarf_attr(&entry, UInt32(DW_AT_call_line), &attribute) != nil, dwarf_formudata(&attribute, &line) == 0, line > 0,
            dwarf_attr(&entry, UInt32(DW_AT_call_file), &attribute) != nil, dwarf_formudata(&attribute, &file) == 0,
            dwarf_diecu(&entry, &unit, nil, nil) != nil
        else { return nil }
        var files: OpaquePointer?, count = 0
        guard dwarf_getsrcfiles(&unit, &files, &count) == 0, file < count, let path = dwarf_filesrc(files, Int(file), nil, nil) else { return nil }
        return SourcePlace(file: String(cString: path), line: Int(clamping: line))
    }

    private func indexUnits() -> RangeIndex<Dwarf_Off> {
        var index = RangeIndex<Dwarf_Off>()
        var unit: OpaquePointer?
        var next: OpaquePointer?
        var type: UInt8 = 0
        var entry = Dwarf_Die()
        while dwarf_get_units(dwarf, unit, &next, nil, &type, &entry, nil) == 0 {
            unit = next
            if Int(type) == DW_UT_compile { add(&entry, to: &index) }
        }
        index.sort()
        return index
    }

    private func functions(of unit: Dwarf_Off) -> RangeIndex<Dwarf_Off> {
        if let known = functions[unit] { return known }
        var index = RangeIndex<Dwarf_Off>()
        var entry = Dwarf_Die()
        if dwarf_offdie(dwarf, unit, &entry) != nil { collectFunctions(in: entry, depth: 0, &index) }
        index.sort()
        functions[unit] = index
        return index
    }

    private func collectFunctions(in parent: Dwarf_Die, depth: Int, _ index: inout RangeIndex<Dwarf_Off>) {
        guard depth < Self.deepest else { return }
        forEachChild(of: parent) { child in
            switch Int(dwarf_tag(&child)) {
            case DW_TAG_subprogram: add(&child, to: &index)
            case DW_TAG_namespace, DW_TAG_module, DW_TAG_class_type, DW_TAG_structure_type, DW_TAG_union_type:
                collectFunctions(in: child, depth: depth + 1, &index)
            default: break
            }
            return true
        }
    }

    /// Follows the blocks and inlined functions that contain the address inwards. Returns false if none does.
    @discardableResult
    private func descend(_ parent: Dwarf_Die, to address: UInt64, depth: Int, _ frames: inout SourceFrames) -> Bool {
        guard depth < Self.deepest else { return false }
        var found = false
        forEachChild(of: parent) { child in
            let tag = Int(dwarf_tag(&child))
            guard [DW_TAG_inlined_subroutine, DW_TAG_lexical_block, DW_TAG_try_block, DW_TAG_catch_block].contains(tag) else {
                return true
            }
            switch dwarf_haspc(&child, address) {
            case 1...:
                if tag == DW_TAG_inlined_subroutine {
                    frames.places.append(call(of: &child))
                    frames.inlined.append(name(of: &child) ?? "[unknown]")
                }
                descend(child, to: address, depth: depth + 1, &frames)
                found = true
            case ..<0 where tag != DW_TAG_inlined_subroutine:
                // A block without a range may contain one that has the address.
                found = descend(child, to: address, depth: depth + 1, &frames)
            default: break
            }
            return !found
        }
        return found
    }

    private func forEachChild(of parent: Dwarf_Die, _ visit: (inout Dwarf_Die) -> Bool) {
        var parent = parent
        var child = Dwarf_Die()
        guard dwarf_child(&parent, &child) == 0 else { return }
        while visit(&child) {
            var next = Dwarf_Die()
            // Siblings are in order; a link backwards would form a cycle.
            guard dwarf_siblingof(&child, &next) == 0, dwarf_dieoffset(&next) > dwarf_dieoffset(&child) else { return }
            child = next
        }
    }

    private func add(_ entry: inout Dwarf_Die, to index: inout RangeIndex<Dwarf_Off>) {
        let offset = dwarf_dieoffset(&entry)
        var (base, start, end): (Dwarf_Addr, Dwarf_Addr, Dwarf_Addr) = (0, 0, 0)
        var position = dwarf_ranges(&entry, 0, &base, &start, &end)
        while position > 0 {
            index.add(from: start, to: end, offset)
            let next = dwarf_ranges(&entry, position, &base, &start, &end)
            guard next != position else { return }
            position = next
        }
    }

    /// The linker name, which includes the scopes, or else the plain name.
    private func name(of entry: inout Dwarf_Die) -> String? {
        var attribute = Dwarf_Attribute()
        for kind in [DW_AT_linkage_name, DW_AT_MIPS_linkage_name] {
            if dwarf_attr_integrate(&entry, UInt32(kind), &attribute) != nil, let name = dwarf_formstring(&attribute) {
                return String(cString: name)
            }
        }
        return dwarf_diename(&entry).map { String(cString: $0) }
    }
}
