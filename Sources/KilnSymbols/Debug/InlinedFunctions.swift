import CElfutils

/// The functions inlined at an address, from a file's debugging information (DWARF), read through libdw.
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

    /// The functions inlined at an address (an ELF virtual address), the outermost first, by their linker names. The function into which
    /// they are inlined is not included.
    func names(at address: UInt64) -> [String] {
        guard let unit = units.value(at: address), let offset = functions(of: unit).value(at: address) else { return [] }
        var names: [String] = []
        var function = Dwarf_Die()
        if dwarf_offdie(dwarf, offset, &function) != nil { descend(function, to: address, depth: 0, &names) }
        return names
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
    private func descend(_ parent: Dwarf_Die, to address: UInt64, depth: Int, _ names: inout [String]) -> Bool {
        guard depth < Self.deepest else { return false }
        var found = false
        forEachChild(of: parent) { child in
            let tag = Int(dwarf_tag(&child))
            guard [DW_TAG_inlined_subroutine, DW_TAG_lexical_block, DW_TAG_try_block, DW_TAG_catch_block].contains(tag) else {
                return true
            }
            switch dwarf_haspc(&child, address) {
            case 1...:
                if tag == DW_TAG_inlined_subroutine { names.append(name(of: &child) ?? "[unknown]") }
                descend(child, to: address, depth: depth + 1, &names)
                found = true
            case ..<0 where tag != DW_TAG_inlined_subroutine:
                // A block without a range may contain one that has the address.
                found = descend(child, to: address, depth: depth + 1, &names)
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
