/// The form of one instruction of x86-64 in 64-bit mode: its length and what control flow and probes need, not its operands.
///
/// Opcode maps as in Intel's manual, volume 2, appendix A. Encodings that are reserved there are no instructions. APX (REX2, map 4 of EVEX)
/// is not decoded, nor are the XOP encodings of old AMD processors beyond their length.
struct Instruction: Equatable {
    /// Which table of opcodes the opcode byte belongs to.
    enum Map: Equatable {
        case one
        /// Behind 0f.
        case two
        /// Behind 0f 38, 0f 3a and 0f 0f.
        case three
        /// Behind a VEX, EVEX or XOP prefix.
        case vector
    }

    struct Prefixes: OptionSet, Equatable {
        let rawValue: UInt16
        /// 26, 2e, 36, 3e
        static let segment = Prefixes(rawValue: 1)
        static let lock = Prefixes(rawValue: 2)
        /// 66
        static let operandSize = Prefixes(rawValue: 4)
        /// 67
        static let addressSize = Prefixes(rawValue: 8)
        /// 48 to 4f
        static let wide = Prefixes(rawValue: 16)
    }

    /// How control goes on.
    enum Flow: Equatable {
        case next
        /// `ret`, with or without a number of bytes.
        case nearReturn
        /// `jmp` to a distance from the instruction's end.
        case jump(Int64)
        /// A conditional jump.
        case branch(Int64)
        /// `jmp` through a register or memory.
        case indirectJump
        /// Far jumps and returns, and returns from interrupts and system calls.
        case other
    }

    private(set) var length = 0
    private(set) var map = Map.one
    private(set) var opcode: UInt8 = 0
    private(set) var modRM: UInt8?
    private(set) var prefixes: Prefixes = []
    private(set) var flow = Flow.next
    /// The distance of a memory operand from the instruction's end.
    private(set) var relativeOperand: Int64?
    /// The REX prefix; 0: none.
    private(set) var rex: UInt8 = 0
    private(set) var sib: UInt8?
    /// Of a memory operand.
    private(set) var displacement: Int64 = 0
    /// The constant of arithmetic instructions (00–3f, 69, 6b, 80–83, c0, c1) and of moves (b8–bf, c6, c7).
    private(set) var immediate: Int64 = 0
    /// `call` to a distance from the instruction's end.
    private(set) var calledDistance: Int64?

    /// The field of ModRM that extends the opcode.
    var modRMExtension: UInt8 { (modRM ?? 0) >> 3 & 7 }

    /// No instruction is longer.
    static let longest = 15

    /// Decodes the instruction at the beginning of these bytes; nil if they hold none, or not all of it.
    init?(_ bytes: UnsafeRawBufferPointer) {
        var reader = Reader(bytes: UnsafeRawBufferPointer(rebasing: bytes.prefix(Self.longest)))
        guard decode(&reader), !reader.hasFailed else { return nil }
        length = reader.position
    }

    private struct Reader {
        let bytes: UnsafeRawBufferPointer
        var position = 0
        var hasFailed = false

        mutating func byte() -> UInt8 {
            guard position < bytes.count else {
                hasFailed = true
                return 0
            }
            defer { position += 1 }
            return bytes[position]
        }

        /// A signed number.
        mutating func number(_ count: Int) -> Int64 {
            guard bytes.count - position >= count else {
                hasFailed = true
                return 0
            }
            defer { position += count }
            return switch count {
            case 1: Int64(bytes.loadUnaligned(fromByteOffset: position, as: Int8.self))
            case 2: Int64(bytes.loadUnaligned(fromByteOffset: position, as: Int16.self))
            case 4: Int64(bytes.loadUnaligned(fromByteOffset: position, as: Int32.self))
            default: 0
            }
        }
    }

    private mutating func decode(_ reader: inout Reader) -> Bool {
        var byte = reader.byte()
        while let prefix = Self.legacyPrefix(byte) {
            prefixes.insert(prefix)
            byte = reader.byte()
            if reader.hasFailed { return false }
        }
        if byte & 0xf0 == 0x40 {
            rex = byte
            if byte & 8 != 0 { prefixes.insert(.wide) }
            byte = reader.byte()
            // A prefix between REX and the opcode disables REX; no compiler writes that.
            if Self.legacyPrefix(byte) != nil || byte & 0xf0 == 0x40 { return false }
        }
        switch byte {
        case 0x0f: return decodeEscaped(&reader)
        case 0xc5:
            map = .vector
            _ = reader.byte()
            return decodeVector(table: 1, isEVEX: false, &reader)
        case 0xc4:
            map = .vector
            let table = reader.byte() & 0x1f
            _ = reader.byte()
            return decodeVector(table: table, isEVEX: false, &reader)
        case 0x62:
            map = .vector
            let first = reader.byte()
            let second = reader.byte()
            _ = reader.byte()
            guard first & 8 == 0, second & 4 != 0 else { return false }
            return decodeVector(table: first & 7, isEVEX: true, &reader)
        case 0x8f:
            let next = reader.bytes.count > reader.position ? reader.bytes[reader.position] : 0
            if next & 0x1f >= 8 {
                map = .vector
                reader.position += 1
                _ = reader.byte()
                opcode = reader.byte()
                operands(&reader)
                switch next & 0x1f {
                case 8: _ = reader.number(1)
                case 9: break
                case 10: _ = reader.number(4)
                default: return false
                }
                return true
            }
        default: break
        }
        opcode = byte
        return decodeMapOne(&reader)
    }

    private static func legacyPrefix(_ byte: UInt8) -> Prefixes? {
        switch byte {
        case 0x26, 0x2e, 0x36, 0x3e: .segment
        case 0x66: .operandSize
        case 0x67: .addressSize
        case 0xf0: .lock
        case 0x64, 0x65, 0xf2, 0xf3: []
        default: nil
        }
    }

    private mutating func decodeMapOne(_ reader: inout Reader) -> Bool {
        // The immediate operand of most instructions.
        let full = prefixes.contains(.operandSize) && !prefixes.contains(.wide) ? 2 : 4
        // The arithmetic instructions.
        if opcode < 0x40 {
            switch opcode & 7 {
            case 0...3: operands(&reader)
            case 4: immediate = reader.number(1)
            case 5: immediate = reader.number(full)
            default: return false
            }
            return true
        }
        switch opcode {
        case 0x50...0x5f, 0x6c...0x6f, 0x90...0x99, 0x9b...0x9f, 0xa4...0xa7, 0xaa...0xaf, 0xc9, 0xcc, 0xd7, 0xec...0xef, 0xf1, 0xf4, 0xf5, 0xf8...0xfd:
            break
        case 0x63, 0x84...0x8e, 0xd0...0xd3, 0xd8...0xdf:
            operands(&reader)
        case 0x68, 0xa9: _ = reader.number(full)
        case 0x6a, 0xa8, 0xb0...0xb7, 0xcd, 0xe4...0xe7: _ = reader.number(1)
        case 0x69, 0x81, 0xc7:
            operands(&reader)
            // xbegin is c7 f8.
            guard opcode != 0xc7 || modRMExtension == 0 || modRM == 0xf8 else { return false }
            immediate = reader.number(full)
            if modRM == 0xf8, opcode == 0xc7 { flow = .other }
        case 0x6b, 0x80, 0x83, 0xc0, 0xc1, 0xc6:
            operands(&reader)
            // xabort is c6 f8.
            guard opcode != 0xc6 || modRMExtension == 0 || modRM == 0xf8 else { return false }
            immediate = reader.number(1)
        case 0x8f:
            operands(&reader)
            guard modRMExtension == 0 else { return false }
        case 0x70...0x7f, 0xe0...0xe3: flow = .branch(reader.number(1))
        case 0xa0...0xa3:
            _ = reader.number(4)
            if !prefixes.contains(.addressSize) { _ = reader.number(4) }
        case 0xb8...0xbf:
            immediate = reader.number(full)
            if prefixes.contains(.wide) { _ = reader.number(4) }
        case 0xc2:
            _ = reader.number(2)
            flow = .nearReturn
        case 0xc3: flow = .nearReturn
        case 0xc8:
            _ = reader.number(2)
            _ = reader.number(1)
        case 0xca:
            _ = reader.number(2)
            flow = .other
        case 0xcb, 0xcf: flow = .other
        case 0xe8, 0xe9:
            // With 66, the processors of Intel and AMD disagree about the length.
            guard full == 4 else { return false }
            let distance = reader.number(4)
            if opcode == 0xe9 { flow = .jump(distance) } else { calledDistance = distance }
        case 0xeb: flow = .jump(reader.number(1))
        case 0xf6, 0xf7:
            operands(&reader)
            if modRMExtension < 2 { _ = reader.number(opcode == 0xf6 ? 1 : full) }
        case 0xfe:
            operands(&reader)
            return modRMExtension < 2
        case 0xff:
            operands(&reader)
            switch modRMExtension {
            case 4: flow = .indirectJump
            case 5: flow = .other
            case 7: return false
            default: break
            }
        default: return false
        }
        return true
    }

    private mutating func decodeEscaped(_ reader: inout Reader) -> Bool {
        map = .two
        opcode = reader.byte()
        switch opcode {
        case 0x38, 0x3a:
            map = .three
            let hasImmediate = opcode == 0x3a
            opcode = reader.byte()
            operands(&reader)
            if hasImmediate { _ = reader.number(1) }
        case 0x0f:
            map = .three
            operands(&reader)
            opcode = reader.byte()
        case 0x05, 0x06, 0x08, 0x09, 0x0b, 0x0e, 0x30...0x35, 0x37, 0x77, 0xa0...0xa2, 0xa8...0xaa, 0xc8...0xcf: break
        case 0x07: flow = .other
        case 0x80...0x8f:
            guard !prefixes.contains(.operandSize) else { return false }
            flow = .branch(reader.number(4))
        case 0x70...0x73, 0xa4, 0xac, 0xba, 0xc2, 0xc4...0xc6:
            operands(&reader)
            _ = reader.number(1)
        case 0x04, 0x0a, 0x0c, 0x24...0x27, 0x36, 0x39, 0x3b...0x3f, 0x7a, 0x7b, 0xa6, 0xa7: return false
        // Of AMD's SSE4a, one form has two immediate operands.
        case 0x78: return false
        default: operands(&reader)
        }
        return true
    }

    private mutating func decodeVector(table: UInt8, isEVEX: Bool, _ reader: inout Reader) -> Bool {
        guard prefixes.isDisjoint(with: [.lock, .operandSize, .wide]) else { return false }
        opcode = reader.byte()
        switch table {
        case 1:
            if opcode == 0x77 { return !isEVEX }
            operands(&reader)
            switch opcode {
            case 0x70...0x73, 0xc2, 0xc4...0xc6: _ = reader.number(1)
            default: break
            }
        case 2: operands(&reader)
        case 3:
            operands(&reader)
            _ = reader.number(1)
        case 5, 6:
            guard isEVEX else { return false }
            operands(&reader)
        default: return false
        }
        return true
    }

    /// ModRM, SIB and the displacement.
    private mutating func operands(_ reader: inout Reader) {
        let modRM = reader.byte(), mode = modRM >> 6, register = modRM & 7
        self.modRM = modRM
        if mode == 3 { return }
        var base = register
        if register == 4 {
            let sib = reader.byte()
            self.sib = sib
            base = sib & 7
        }
        switch mode {
        case 0 where register == 5: relativeOperand = reader.number(4)
        case 0 where base == 5, 2: displacement = reader.number(4)
        case 1: displacement = reader.number(1)
        default: break
        }
    }
}
