import KilnBPF

/// The bytes of a DWARF expression in a section, which must outlive it.
struct CallFrameExpression {
    let start: UnsafeRawPointer
    let count: Int

    var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: start, count: count) }
}

/// How to find the caller's value of a register.
enum RegisterRule {
    /// No rule was given.
    case unspecified
    case undefined
    case sameValue
    /// In memory at CFA + this many bytes.
    case atOffset(Int64)
    /// The value is CFA + this many bytes.
    case valueOffset(Int64)
    /// In another register.
    case register(UInt64)
    /// In memory at the address that the expression yields.
    case atExpression(CallFrameExpression)
    case valueExpression(CallFrameExpression)
}

/// How to find the canonical frame address (CFA).
enum CallFrameAddressRule {
    case unspecified
    case register(UInt64, offset: Int64)
    case expression(CallFrameExpression)
}

/// One row of the table that call frame instructions describe (DWARF 5 section 6.4.1), reduced to the parts that unwinding needs.
struct CallFrameState {
    var canonicalAddress = CallFrameAddressRule.unspecified
    var framePointer = RegisterRule.unspecified
    var returnAddress = RegisterRule.unspecified
    var stackPointer = RegisterRule.unspecified
}

/// A common information entry (CIE), parsed.
struct CommonFrameEntry {
    let section: CallFrameSection
    var codeFactor: UInt64 = 1
    var dataFactor: Int64 = 1
    /// The register number of the return address.
    var returnRegister: UInt64 = 0
    var pointerEncoding = PointerEncoding.absolute
    /// Function entries have augmentation data, preceded by its length.
    var hasAugmentationData = false
    /// The frame was created by a signal, not by a call.
    var isSignalFrame = false
    /// False if the entry is malformed, or of an unknown form.
    var isUsable = false
    /// The state after its initial instructions.
    var initial = CallFrameState()
}

/// Executes call frame instructions (DWARF 5 section 6.4.2 and GNU's additions) from one location to the next.
struct CallFrameProgram {
    /// Why `run` stopped.
    enum Stop {
        /// The state is valid for this many bytes from the current location.
        case advance(UInt64)
        /// The state is valid up to this address.
        case location(UInt64)
        case end
        case malformed
    }

    /// Compilers nest one or two levels.
    private static let deepestNesting = 64

    private(set) var state: CallFrameState
    private var reader: DwarfReader
    private var remembered: [CallFrameState] = []
    private let framePointer: UInt64
    private let stackPointer: UInt64

    init(_ architecture: CallFrameArchitecture) {
        framePointer = architecture.framePointer
        stackPointer = architecture.stackPointer
        state = CallFrameState()
        let nowhere = UnsafeRawPointer(bitPattern: 1).unsafelyUnwrapped
        reader = DwarfReader(from: nowhere, to: nowhere)
    }

    /// Starts with other instructions, and reuses the allocated memory.
    mutating func start(_ instructions: DwarfReader, in initial: CallFrameState) {
        reader = instructions
        state = initial
        if !remembered.isEmpty { remembered.removeAll(keepingCapacity: true) }
    }

    /// The row of the current state. It is a method here because a caller would copy the state first, and reading freshly written memory in
    /// smaller pieces stalls the processor: half of the encoder's time, by perf annotate.
    func row(_ encoder: UnwindRowEncoder, isSignalFrame: Bool) -> kiln_unwind_row {
        encoder.row(of: state, isSignalFrame: isSignalFrame)
    }

    /// Executes up to the next change of location.
    mutating func run(of entry: borrowing CommonFrameEntry) -> Stop {
        while !reader.isAtEnd {
            let instruction = reader.number(UInt8.self)
            let operand = UInt64(instruction & 0x3f)
            switch instruction >> 6 {
            case 1:  // DW_CFA_advance_loc
                return .advance(operand &* entry.codeFactor)
            case 2:  // DW_CFA_offset
                setOffset(operand, Int64(bitPattern: reader.unsignedLEB()), entry)
            case 3:  // DW_CFA_restore
                restore(operand, entry)
            default:
                if let stop = runExtended(instruction, entry) { return stop }
            }
        }
        return reader.hasFailed ? .malformed : .end
    }

    /// Executes an instruction that takes the whole byte. Returns the stop if it ends the row.
    private mutating func runExtended(_ instruction: UInt8, _ entry: borrowing CommonFrameEntry) -> Stop? {
        switch instruction {
        case 0x00:  // DW_CFA_nop
            break
        case 0x01:  // DW_CFA_set_loc
            if entry.pointerEncoding.isIndirect { return .malformed }
            let location = reader.pointer(entry.pointerEncoding, in: entry.section)
            return reader.hasFailed ? .malformed : .location(location)
        case 0x02:  // DW_CFA_advance_loc1
            return advance(UInt64(reader.number(UInt8.self)), entry)
        case 0x03:  // DW_CFA_advance_loc2
            return advance(UInt64(reader.number(UInt16.self)), entry)
        case 0x04:  // DW_CFA_advance_loc4
            return advance(UInt64(reader.number(UInt32.self)), entry)
        case 0x05:  // DW_CFA_offset_extended
            setOffset(reader.unsignedLEB(), Int64(bitPattern: reader.unsignedLEB()), entry)
        case 0x06:  // DW_CFA_restore_extended
            restore(reader.unsignedLEB(), entry)
        case 0x07:  // DW_CFA_undefined
            set(reader.unsignedLEB(), .undefined, entry)
        case 0x08:  // DW_CFA_same_value
            set(reader.unsignedLEB(), .sameValue, entry)
        case 0x09:  // DW_CFA_register
            let register = reader.unsignedLEB()
            set(register, .register(reader.unsignedLEB()), entry)
        case 0x0a:  // DW_CFA_remember_state
            if remembered.count == Self.deepestNesting { return .malformed }
            remembered.append(state)
        case 0x0b:  // DW_CFA_restore_state
            guard let last = remembered.popLast() else { return .malformed }
            state = last
        case 0x0c:  // DW_CFA_def_cfa
            let register = reader.unsignedLEB()
            state.canonicalAddress = .register(register, offset: Int64(bitPattern: reader.unsignedLEB()))
        case 0x0d:  // DW_CFA_def_cfa_register
            // libgcc keeps the previous offset, even after an expression; the standard calls that invalid.
            guard case .register(_, let offset) = state.canonicalAddress else { return .malformed }
            state.canonicalAddress = .register(reader.unsignedLEB(), offset: offset)
        case 0x0e:  // DW_CFA_def_cfa_offset
            return setFrameOffset(Int64(bitPattern: reader.unsignedLEB()))
        case 0x0f:  // DW_CFA_def_cfa_expression
            state.canonicalAddress = .expression(expression())
        case 0x10:  // DW_CFA_expression
            let register = reader.unsignedLEB()
            set(register, .atExpression(expression()), entry)
        case 0x11:  // DW_CFA_offset_extended_sf
            let register = reader.unsignedLEB()
            setOffset(register, reader.signedLEB(), entry)
        case 0x12:  // DW_CFA_def_cfa_sf
            let register = reader.unsignedLEB()
            state.canonicalAddress = .register(register, offset: reader.signedLEB() &* entry.dataFactor)
        case 0x13:  // DW_CFA_def_cfa_offset_sf
            return setFrameOffset(reader.signedLEB() &* entry.dataFactor)
        case 0x14:  // DW_CFA_val_offset
            let register = reader.unsignedLEB()
            set(register, .valueOffset(Int64(bitPattern: reader.unsignedLEB()) &* entry.dataFactor), entry)
        case 0x15:  // DW_CFA_val_offset_sf
            let register = reader.unsignedLEB()
            set(register, .valueOffset(reader.signedLEB() &* entry.dataFactor), entry)
        case 0x16:  // DW_CFA_val_expression
            let register = reader.unsignedLEB()
            set(register, .valueExpression(expression()), entry)
        case 0x2e:  // DW_CFA_GNU_args_size: only exception landing pads need it
            _ = reader.unsignedLEB()
        case 0x2f:  // DW_CFA_GNU_negative_offset_extended
            let register = reader.unsignedLEB()
            setOffset(register, 0 &- Int64(bitPattern: reader.unsignedLEB()), entry)
        default:
            return .malformed
        }
        return reader.hasFailed ? .malformed : nil
    }

    private func advance(_ count: UInt64, _ entry: borrowing CommonFrameEntry) -> Stop {
        reader.hasFailed ? .malformed : .advance(count &* entry.codeFactor)
    }

    private mutating func expression() -> CallFrameExpression {
        let count = reader.unsignedLEB()
        let start = reader.skip(count)
        return CallFrameExpression(start: start, count: reader.hasFailed ? 0 : Int(count))
    }

    private mutating func setFrameOffset(_ offset: Int64) -> Stop? {
        guard !reader.hasFailed, case .register(let register, _) = state.canonicalAddress else { return .malformed }
        state.canonicalAddress = .register(register, offset: offset)
        return nil
    }

    @inline(__always)
    private mutating func setOffset(_ register: UInt64, _ factored: Int64, _ entry: borrowing CommonFrameEntry) {
        set(register, .atOffset(factored &* entry.dataFactor), entry)
    }

    @inline(__always)
    private mutating func set(_ register: UInt64, _ rule: RegisterRule, _ entry: borrowing CommonFrameEntry) {
        if register == framePointer {
            state.framePointer = rule
        } else if register == entry.returnRegister {
            state.returnAddress = rule
        } else if register == stackPointer {
            state.stackPointer = rule
        }
    }

    private mutating func restore(_ register: UInt64, _ entry: borrowing CommonFrameEntry) {
        if register == framePointer {
            state.framePointer = entry.initial.framePointer
        } else if register == entry.returnRegister {
            state.returnAddress = entry.initial.returnAddress
        } else if register == stackPointer {
            state.stackPointer = entry.initial.stackPointer
        }
    }
}
