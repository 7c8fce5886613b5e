/// A section of call frame information in memory: .eh_frame (Linux Standard Base 5.0, "Exception Frames") or .debug_frame (DWARF 5 section
/// 6.4), which differ in details.
struct CallFrameSection {
    let bytes: UnsafeRawBufferPointer
    /// ELF virtual address of the first byte; 0 for .debug_frame, which is not loaded.
    let address: UInt64
    let isDebugFrame: Bool
    /// False if only the start is known; then an empty entry marks the end.
    let isEndKnown: Bool
    /// The base of "data relative" pointers: the global offset table, 0 without one.
    let dataBase: UInt64
    /// The base of "text relative" pointers: .text, 0 without one.
    let textBase: UInt64

    func address(of position: UnsafeRawPointer) -> UInt64 {
        guard let start = bytes.baseAddress else { return address }
        return address &+ UInt64(bitPattern: Int64(position - start))
    }
}

/// A pointer's encoding (DW_EH_PE_* of the Linux Standard Base 5.0): format, base, indirection.
struct PointerEncoding {
    let rawValue: UInt8

    static let absolute = PointerEncoding(rawValue: 0)
    /// There is no pointer.
    static let omit = PointerEncoding(rawValue: 0xff)

    /// Only the number format, for lengths, which have no base.
    var format: PointerEncoding { PointerEncoding(rawValue: rawValue & 0x0f) }
    var isOmitted: Bool { rawValue == 0xff }
    /// The pointer is the address of the address.
    var isIndirect: Bool { rawValue & 0x80 != 0 && !isOmitted }
}

/// Reads numbers from memory, never past its end. After the first attempt to do so, `hasFailed` is true and every read returns 0.
struct DwarfReader {
    private(set) var position: UnsafeRawPointer
    let end: UnsafeRawPointer
    private(set) var hasFailed = false

    init(from position: UnsafeRawPointer, to end: UnsafeRawPointer) {
        self.position = position
        self.end = max(position, end)
    }

    var isAtEnd: Bool { position >= end }
    var remaining: Int { end - position }

    /// A little-endian number with the width of its type.
    @inline(__always)
    mutating func number<Number: FixedWidthInteger & BitwiseCopyable>(_ type: Number.Type) -> Number {
        guard end - position >= MemoryLayout<Number>.size else { return fail() }
        let value = position.loadUnaligned(as: type)
        position += MemoryLayout<Number>.size
        return Number(littleEndian: value)
    }

    /// An unsigned LEB128 number (DWARF 5 section 7.6). Bits beyond the 64th are dropped.
    @inline(__always)
    mutating func unsignedLEB() -> UInt64 {
        let first = number(UInt8.self)
        return first < 0x80 ? UInt64(first) : longLEB(startingWith: first).value
    }

    /// A signed LEB128 number.
    @inline(__always)
    mutating func signedLEB() -> Int64 {
        let first = number(UInt8.self)
        // Sign extension of seven bits.
        if first < 0x80 { return Int64(Int8(bitPattern: first << 1) >> 1) }
        let (value, shift) = longLEB(startingWith: first)
        guard shift < 64 else { return Int64(bitPattern: value) }
        return Int64(bitPattern: value << (64 - shift)) >> Int64(64 - shift)
    }

    private mutating func longLEB(startingWith first: UInt8) -> (value: UInt64, shift: UInt64) {
        var value = UInt64(first & 0x7f)
        var shift: UInt64 = 7
        while true {
            let byte = number(UInt8.self)
            if shift < 64 { value |= UInt64(byte & 0x7f) << shift }
            shift = min(shift + 7, 70)
            if byte < 0x80 { return (value, shift) }
        }
    }

    /// Skips bytes. Returns their start.
    @discardableResult @inline(__always)
    mutating func skip(_ count: UInt64) -> UnsafeRawPointer {
        let start = position
        guard count <= UInt64(end - position) else {
            let _: UInt8 = fail()
            return start
        }
        position += Int(count)
        return start
    }

    /// Reads a string and its terminator. Returns the string's bytes.
    mutating func string() -> UnsafeRawBufferPointer {
        let rest = UnsafeRawBufferPointer(start: position, count: end - position)
        guard let length = rest.firstIndex(of: 0) else {
            let _: UInt8 = fail()
            return UnsafeRawBufferPointer(start: nil, count: 0)
        }
        position += length + 1
        return UnsafeRawBufferPointer(rebasing: rest[..<length])
    }

    /// A pointer with an encoding. If it is indirect, returns the address of the address.
    @inline(__always)
    mutating func pointer(_ encoding: PointerEncoding, in section: CallFrameSection) -> UInt64 {
        if encoding.rawValue == 0x1b {  // pcrel, sdata4: used by practically every file
            let place = section.address(of: position)
            return place &+ UInt64(bitPattern: Int64(number(Int32.self)))
        }
        return rarePointer(encoding, in: section)
    }

    private mutating func rarePointer(_ encoding: PointerEncoding, in section: CallFrameSection) -> UInt64 {
        if encoding.isOmitted { return fail() }
        let place = section.address(of: position)
        let base: UInt64
        switch encoding.rawValue & 0x70 {
        case 0x00: base = 0
        case 0x10: base = place
        case 0x20: base = section.textBase
        case 0x30: base = section.dataBase
        case 0x50:  // an absolute word at the next word boundary
            skip((0 &- place) & 7)
            return number(UInt64.self)
        default: return fail()  // 0x40, relative to the function, is meaningless for the function's own address
        }
        let value: UInt64
        switch encoding.rawValue & 0x0f {
        case 0x00, 0x04, 0x08, 0x0c: value = number(UInt64.self)
        case 0x01: value = unsignedLEB()
        case 0x02: value = UInt64(number(UInt16.self))
        case 0x03: value = UInt64(number(UInt32.self))
        case 0x09: value = UInt64(bitPattern: signedLEB())
        case 0x0a: value = UInt64(bitPattern: Int64(number(Int16.self)))
        case 0x0b: value = UInt64(bitPattern: Int64(number(Int32.self)))
        default: return fail()
        }
        return base &+ value
    }

    private mutating func fail<Number: FixedWidthInteger>() -> Number {
        hasFailed = true
        position = end
        return 0
    }
}
