/// How an attribute's value is written (DWARF 5 section 7.5.6, and GNU's extensions).
enum DwarfForm: UInt16 {
    case address = 0x01
    case block2 = 0x03
    case block4, data2, data4, data8, text, block, block1, data1, flag, signed, textOffset, unsigned, sectionReference
    case reference1, reference2, reference4, reference8, referenceLEB, indirect, sectionOffset, expression, present, textIndex, addressIndex
    case sharedReference4, sharedText, data16, lineText, signature, implicit, locationList, rangeList, sharedReference8
    case textIndex1, textIndex2, textIndex3, textIndex4, addressIndex1, addressIndex2, addressIndex3, addressIndex4
    case gnuAddressIndex = 0x1f01
    case gnuTextIndex = 0x1f02
    case gnuSharedReference = 0x1f20
    case gnuSharedText = 0x1f21
}

/// The sizes that forms depend on.
struct DwarfFormat: Hashable {
    let version: UInt16
    /// Of offsets into sections: 4, or 8 in the 64-bit form of DWARF.
    let offsetSize: UInt8
    let addressSize: UInt8
}

/// A step over values of an entry that are not needed.
enum DwarfSkip {
    case bytes(UInt32)
    case number
    case text
    case block, block1, block2, block4
    case indirect

    init(_ form: DwarfForm, _ format: DwarfFormat) {
        switch form {
        case .address: self = .bytes(UInt32(format.addressSize))
        case .present, .implicit: self = .bytes(0)
        case .data1, .flag, .reference1, .textIndex1, .addressIndex1: self = .bytes(1)
        case .data2, .reference2, .textIndex2, .addressIndex2: self = .bytes(2)
        case .textIndex3, .addressIndex3: self = .bytes(3)
        case .data4, .reference4, .sharedReference4, .textIndex4, .addressIndex4: self = .bytes(4)
        case .data8, .reference8, .signature, .sharedReference8: self = .bytes(8)
        case .data16: self = .bytes(16)
        case .textOffset, .lineText, .sharedText, .sectionOffset, .gnuSharedReference, .gnuSharedText: self = .bytes(UInt32(format.offsetSize))
        // DWARF 2 has the size of an address there.
        case .sectionReference: self = .bytes(UInt32(format.version == 2 ? format.addressSize : format.offsetSize))
        case .signed, .unsigned, .referenceLEB, .textIndex, .addressIndex, .locationList, .rangeList, .gnuAddressIndex, .gnuTextIndex: self = .number
        case .text: self = .text
        case .block, .expression: self = .block
        case .block1: self = .block1
        case .block2: self = .block2
        case .block4: self = .block4
        case .indirect: self = .indirect
        }
    }
}

/// What an attribute says.
enum DwarfValue {
    case constant(UInt64)
    case address(UInt64)
    /// Of the unit's addresses.
    case addressIndex(UInt64)
    /// Into the section that the attribute is about.
    case offset(UInt64)
    /// Of the unit's range lists.
    case rangeList(UInt64)
    /// From the unit's header.
    case reference(UInt64)
    /// From the start of the section, in this file or in the one that several files share.
    case sectionReference(UInt64)
    case sharedReference(UInt64)
    /// Where it is written: in the section itself, in one of texts, in that of the shared file, or at an index of the unit.
    case text(UnsafeRawBufferPointer)
    case textOffset(DwarfSections.Kind, UInt64)
    case sharedText(UInt64)
    case textIndex(UInt64)
    /// Of no use to kiln.
    case other
}

extension DwarfReader {
    /// An offset into a section, or an address.
    @inline(__always)
    mutating func word(ofSize size: UInt8) -> UInt64 {
        switch size {
        case 8: number(UInt64.self)
        case 4: UInt64(number(UInt32.self))
        case 2: UInt64(number(UInt16.self))
        default: UInt64(number(UInt8.self))
        }
    }

    @inline(__always)
    mutating func skip(_ step: DwarfSkip, _ format: DwarfFormat) {
        switch step {
        case .bytes(let count): skip(UInt64(count))
        case .number: _ = unsignedLEB()
        case .text: _ = string()
        case .block: skip(unsignedLEB())
        case .block1: skip(UInt64(number(UInt8.self)))
        case .block2: skip(UInt64(number(UInt16.self)))
        case .block4: skip(UInt64(number(UInt32.self)))
        case .indirect: _ = value(.indirect, 0, format)
        }
    }

    mutating func value(_ form: DwarfForm, _ implicit: Int64, _ format: DwarfFormat) -> DwarfValue {
        switch form {
        case .address: return .address(word(ofSize: format.addressSize))
        case .data1, .flag: return .constant(word(ofSize: 1))
        case .data2: return .constant(word(ofSize: 2))
        // Up to DWARF 3 these may be offsets, too.
        case .data4: return .constant(word(ofSize: 4))
        case .data8: return .constant(word(ofSize: 8))
        case .signed: return .constant(UInt64(bitPattern: signedLEB()))
        case .unsigned: return .constant(unsignedLEB())
        case .implicit: return .constant(UInt64(bitPattern: implicit))
        case .present: return .constant(1)
        case .sectionOffset: return .offset(word(ofSize: format.offsetSize))
        case .rangeList: return .rangeList(unsignedLEB())
        case .addressIndex, .gnuAddressIndex: return .addressIndex(unsignedLEB())
        case .addressIndex1: return .addressIndex(word(ofSize: 1))
        case .addressIndex2: return .addressIndex(word(ofSize: 2))
        case .addressIndex3: return .addressIndex(threeBytes())
        case .addressIndex4: return .addressIndex(word(ofSize: 4))
        case .reference1: return .reference(word(ofSize: 1))
        case .reference2: return .reference(word(ofSize: 2))
        case .reference4: return .reference(word(ofSize: 4))
        case .reference8: return .reference(word(ofSize: 8))
        case .referenceLEB: return .reference(unsignedLEB())
        case .sectionReference: return .sectionReference(word(ofSize: format.version == 2 ? format.addressSize : format.offsetSize))
        case .sharedReference4: return .sharedReference(word(ofSize: 4))
        case .sharedReference8: return .sharedReference(word(ofSize: 8))
        case .gnuSharedReference: return .sharedReference(word(ofSize: format.offsetSize))
        case .text: return .text(string())
        case .textOffset: return .textOffset(.text, word(ofSize: format.offsetSize))
        case .lineText: return .textOffset(.lineText, word(ofSize: format.offsetSize))
        case .sharedText, .gnuSharedText: return .sharedText(word(ofSize: format.offsetSize))
        case .textIndex, .gnuTextIndex: return .textIndex(unsignedLEB())
        case .textIndex1: return .textIndex(word(ofSize: 1))
        case .textIndex2: return .textIndex(word(ofSize: 2))
        case .textIndex3: return .textIndex(threeBytes())
        case .textIndex4: return .textIndex(word(ofSize: 4))
        case .indirect:
            // One that is indirect again could go on for the whole file.
            guard let form = DwarfForm(rawValue: UInt16(truncatingIfNeeded: unsignedLEB())), form != .indirect else {
                skip(.max)
                return .other
            }
            return value(form, form == .implicit ? signedLEB() : 0, format)
        case .block, .block1, .block2, .block4, .expression, .data16, .signature, .locationList:
            skip(DwarfSkip(form, format), format)
            return .other
        }
    }

    private mutating func threeBytes() -> UInt64 { word(ofSize: 2) | word(ofSize: 1) << 16 }
}
