import KilnBPF

/// Encodes a state of call frame instructions as a row of the table that the kernel searches.
struct UnwindRowEncoder {
    private let architecture: CallFrameArchitecture
    // Copies of fields that are read for every row.
    private let stackPointer: UInt64
    private let framePointer: UInt64
    private let returnAddressOffset: Int64

    init(architecture: CallFrameArchitecture) {
        self.architecture = architecture
        stackPointer = architecture.stackPointer
        framePointer = architecture.framePointer
        returnAddressOffset = architecture.returnAddressOffset
    }

    /// A row without pc and without a state: for code with no, or with unusable, call frame information.
    static func row(_ rule: kiln_unwind_rule) -> kiln_unwind_row {
        kiln_unwind_row(pc: 0, offset: 0, frame_pointer: Int8(KILN_UNWIND_FP_SAME), rule: UInt8(rule.rawValue))
    }

    /// The row of a state, without pc; UNSUPPORTED if the format can't express it.
    @inline(__always)
    func row(of state: CallFrameState, isSignalFrame: Bool) -> kiln_unwind_row {
        // A fast path for nearly all rows, which saves a sixth of a large table's time. Words have 8 bytes.
        if case .register(let register, let offset) = state.canonicalAddress,
            register == stackPointer || register == framePointer,
            case .atOffset(returnAddressOffset) = state.returnAddress, case .unspecified = state.stackPointer, !isSignalFrame,
            offset & 7 == 0, let words = Int16(exactly: offset >> 3)
        {
            var row = Self.row(register == stackPointer ? KILN_UNWIND_SP : KILN_UNWIND_FP)
            row.offset = words
            if case .unspecified = state.framePointer { return row }
            if case .atOffset(let saved) = state.framePointer, saved & 7 == 0, saved < 0, saved >= -127 * 8 {
                row.frame_pointer = Int8(truncatingIfNeeded: saved >> 3)
                return row
            }
        }
        return rareRow(of: state, isSignalFrame: isSignalFrame)
    }

    private func rareRow(of state: CallFrameState, isSignalFrame: Bool) -> kiln_unwind_row {
        let unsupported = Self.row(KILN_UNWIND_UNSUPPORTED)
        if isSignalFrame && isKernelSignalFrame(state) { return Self.row(KILN_UNWIND_SIGNAL) }
        guard isStackPointerTheCanonicalAddress(state.stackPointer) else { return unsupported }

        var returnRegister: UInt64?
        switch state.returnAddress {
        case .atOffset(architecture.returnAddressOffset): break
        case .undefined: return Self.row(KILN_UNWIND_END)
        case .register(let register): returnRegister = register
        default: return unsupported
        }
        var row: kiln_unwind_row
        switch state.canonicalAddress {
        case .unspecified: return unsupported
        case .register(let register, let offset): row = self.row(.init(register: register, offset: offset))
        case .expression(let expression):
            if let threshold = pltThreshold(expression) {
                row = Self.row(KILN_UNWIND_PLT)
                row.offset = threshold
            } else if let address = AddressExpression(expression) {
                row = self.row(address)
            } else {
                return unsupported
            }
        }
        if let returnRegister {
            guard row.rule == UInt8(KILN_UNWIND_SP.rawValue), let packed = packed(returnRegister, words: Int64(row.offset))
            else { return unsupported }
            row.rule = UInt8(KILN_UNWIND_RETURN_REGISTER.rawValue)
            row.offset = packed
        }
        guard row.rule != UInt8(KILN_UNWIND_UNSUPPORTED.rawValue), let framePointer = framePointer(state)
        else { return unsupported }
        row.frame_pointer = framePointer
        return row
    }

    /// The CFA's part of a row.
    private func row(_ address: AddressExpression) -> kiln_unwind_row {
        let unsupported = Self.row(KILN_UNWIND_UNSUPPORTED)
        guard address.offset % architecture.wordSize == 0 else { return unsupported }
        guard let words = Int16(exactly: address.offset / architecture.wordSize) else {
            // Large buffers on the stack; redis-server's lzf_compress has one of 512 KiB.
            guard address == .init(register: stackPointer, offset: address.offset),
                let beyond = UInt16(exactly: address.offset / architecture.wordSize - Int64(KILN_UNWIND_FAR))
            else { return unsupported }
            var row = Self.row(KILN_UNWIND_SP_FAR)
            row.offset = Int16(bitPattern: beyond)
            return row
        }
        let rule: kiln_unwind_rule
        switch (address.register, address.isDereferenced, address.addend) {
        case (architecture.framePointer, false, 0) where address.isElsewhere: rule = KILN_UNWIND_FP_ELSEWHERE
        case (architecture.stackPointer, false, 0): rule = KILN_UNWIND_SP
        case (architecture.framePointer, false, 0): rule = KILN_UNWIND_FP
        case (architecture.stackPointer, true, 0): rule = KILN_UNWIND_DEREFERENCE_SP
        case (architecture.framePointer, true, 0): rule = KILN_UNWIND_DEREFERENCE_FP
        case (architecture.stackPointer, true, 8): rule = KILN_UNWIND_DEREFERENCE_SP_8
        case (_, false, 0):
            guard let packed = packed(address.register, words: Int64(words)) else { return unsupported }
            var row = Self.row(KILN_UNWIND_REGISTER)
            row.offset = packed
            return row
        default: return unsupported
        }
        var row = Self.row(rule)
        row.offset = words
        return row
    }

    private func packed(_ register: UInt64, words: Int64) -> Int16? {
        guard register < architecture.registerCount, register <= UInt64(KILN_UNWIND_REGISTER_MASK) else { return nil }
        return Int16(exactly: words << Int64(KILN_UNWIND_REGISTER_SHIFT) | Int64(register))
    }

    /// The location of the caller's frame pointer; nil if the format can't express it.
    @inline(__always)
    private func framePointer(_ state: CallFrameState) -> Int8? {
        switch state.framePointer {
        case .unspecified, .sameValue: return Int8(KILN_UNWIND_FP_SAME)
        case .undefined: return Int8(KILN_UNWIND_FP_UNDEFINED)
        case .atOffset(let offset): return framePointer(atOffset: offset)
        case .atExpression(let expression):
            guard let address = AddressExpression(expression), !address.isDereferenced, address.addend == 0 else { return nil }
            if address.register == architecture.framePointer && address.offset == 0 { return Int8(KILN_UNWIND_FP_AT_FP) }
            // Relative to the register on which the CFA is based, so it can be converted to an offset from the CFA.
            guard case .register(address.register, let offset) = state.canonicalAddress else { return nil }
            return framePointer(atOffset: address.offset &- offset)
        case .valueOffset, .register, .valueExpression: return nil
        }
    }

    private func framePointer(atOffset offset: Int64) -> Int8? {
        guard offset % architecture.wordSize == 0, let words = Int8(exactly: offset / architecture.wordSize) else { return nil }
        switch Int32(words) {
        case KILN_UNWIND_FP_SAME, KILN_UNWIND_FP_AT_FP, KILN_UNWIND_FP_UNDEFINED: return nil  // these have another meaning
        default: return words
        }
    }

    /// The caller's stack pointer is the CFA by definition, so this rule may be explicit or absent.
    private func isStackPointerTheCanonicalAddress(_ rule: RegisterRule) -> Bool {
        switch rule {
        case .unspecified, .valueOffset(0): true
        default: false
        }
    }

    private func isKernelSignalFrame(_ state: CallFrameState) -> Bool {
        guard case .expression(let canonical) = state.canonicalAddress, let address = AddressExpression(canonical),
            case .atExpression(let returned) = state.returnAddress, let instruction = AddressExpression(returned),
            case .atExpression(let saved) = state.framePointer, let framePointer = AddressExpression(saved)
        else { return false }
        let frame = architecture.signalFrame
        return address == .init(register: architecture.stackPointer, offset: frame.stackPointer, isDereferenced: true)
            && instruction == .init(register: architecture.stackPointer, offset: frame.instructionPointer)
            && framePointer == .init(register: architecture.stackPointer, offset: frame.framePointer)
    }

    /// The slot offset after which a second word is on the stack, if this is the linkage table's expression.
    private func pltThreshold(_ expression: CallFrameExpression) -> Int16? {
        let pattern = architecture.pltExpression
        guard expression.count == pattern.count else { return nil }
        for (index, byte) in pattern.enumerated() where index != architecture.pltThreshold {
            if expression.bytes[index] != byte { return nil }
        }
        let literal = expression.bytes[architecture.pltThreshold]
        return (0x30...0x3f).contains(literal) ? Int16(literal - 0x30) : nil
    }
}

/// A DWARF expression in one of the forms that compilers and assemblers use for addresses: register + offset, optionally dereferenced,
/// optionally plus a constant.
struct AddressExpression: Equatable {
    let register: UInt64
    let offset: Int64
    var isDereferenced = false
    var addend: Int64 = 0
    /// Followed by a nop, which only `GoFunctionTable` writes: the address is on another stack.
    var isElsewhere = false

    init(register: UInt64, offset: Int64, isDereferenced: Bool = false) {
        self.register = register
        self.offset = offset
        self.isDereferenced = isDereferenced
    }

    init?(_ expression: CallFrameExpression) {
        var reader = DwarfReader(from: expression.start, to: expression.start + expression.count)
        let first = reader.number(UInt8.self)
        switch first {
        case 0x70...0x8f: register = UInt64(first - 0x70)  // DW_OP_breg0 ...
        case 0x92: register = reader.unsignedLEB()  // DW_OP_bregx
        default: return nil
        }
        var offset = reader.signedLEB()
        while !reader.isAtEnd {
            switch reader.number(UInt8.self) {
            case 0x06:  // DW_OP_deref
                if isDereferenced { return nil }
                isDereferenced = true
            case 0x23:  // DW_OP_plus_uconst
                let constant = Int64(bitPattern: reader.unsignedLEB())
                if isDereferenced { addend &+= constant } else { offset &+= constant }
            case 0x96: isElsewhere = true  // DW_OP_nop
            default: return nil
            }
        }
        if reader.hasFailed { return nil }
        self.offset = offset
    }
}
