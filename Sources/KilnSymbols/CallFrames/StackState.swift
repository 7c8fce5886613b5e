import KilnBPF

/// Where a function's frame lies at one of its instructions, as the instructions before it tell: what call frame information would say.
/// x86-64, System V calling convention.
struct StackState: Hashable {
    /// Where the caller's frame pointer is.
    enum FramePointer: Hashable {
        case inRegister
        /// So many bytes below the CFA.
        case saved(Int32)
        case lost
    }

    /// Bytes from the stack pointer up to the CFA; nil: not known.
    private(set) var depth: Int32? = 8
    /// Bytes from the frame pointer register up to the CFA; nil: the register holds something else.
    private(set) var frame: Int32?
    private(set) var framePointer = FramePointer.inRegister
    /// The function has cleared the frame pointer that it should have kept: nothing called it (System V ABI for x86-64, 3.4.1).
    private(set) var isOutermost = false
    /// The function begins where it is taken to begin: a symbol or a call says so.
    let isSure: Bool

    /// Behind a call.
    static let entry = StackState(isSure: true)
    static let likelyEntry = StackState(isSure: false)
    static let unknown: StackState = {
        var state = StackState(isSure: false)
        state.depth = nil
        return state
    }()

    private init(isSure: Bool) { self.isSure = isSure }

    private static let stackPointer: UInt8 = 4, framePointerRegister: UInt8 = 5

    /// Goes on behind an instruction.
    mutating func execute(_ instruction: Instruction) {
        switch instruction.map {
        case .one: executeMapOne(instruction)
        case .two:
            switch instruction.opcode {
            case 0xa0, 0xa8: push()
            case 0xa1, 0xa9: pop()
            case 0x40...0x4f where instruction.register == Self.stackPointer: depth = nil
            case 0x40...0x4f where instruction.register == Self.framePointerRegister: frame = nil
            default: break
            }
        case .three, .vector: break
        }
    }

    private mutating func executeMapOne(_ instruction: Instruction) {
        switch instruction.opcode {
        case 0x50...0x57:
            push()
            if instruction.opcodeRegister == Self.framePointerRegister, framePointer == .inRegister, let depth { framePointer = .saved(depth) }
        case 0x58...0x5f:
            switch instruction.opcodeRegister {
            case Self.stackPointer: depth = nil
            case Self.framePointerRegister: popFramePointer()
            default: pop()
            }
        case 0x68, 0x6a, 0x9c: push()
        case 0x9d, 0x8f: pop()
        case 0xff where instruction.modRMExtension == 6: push()
        case 0xc8: depth = nil
        case 0xc9:
            depth = frame
            popFramePointer()
        // A call of the next instruction pushes its address.
        case 0xe8 where instruction.calledDistance == 0: push()
        case 0x81, 0x83: executeArithmetic(instruction)
        case 0x89: move(from: instruction.register, to: instruction)
        case 0x8b: move(from: instruction, to: instruction.register)
        case 0x8d: set(instruction.register, to: address(instruction))
        case 0x87 where instruction.operandRegister == Self.stackPointer || instruction.register == Self.stackPointer: depth = nil
        case 0xb8...0xbf where instruction.opcodeRegister == Self.framePointerRegister: frame = nil
        case 0x00...0x3f where instruction.opcode < 0x38: executeBinary(instruction)
        default: break
        }
    }

    private mutating func push() { depth = depth.map { $0 &+ 8 } }
    private mutating func pop() { depth = depth.map { $0 &- 8 } }

    private mutating func popFramePointer() {
        if case .saved(let place) = framePointer, place == depth { framePointer = .inRegister }
        frame = nil
        pop()
    }

    /// With a constant.
    private mutating func executeArithmetic(_ instruction: Instruction) {
        switch (instruction.operandRegister, instruction.modRMExtension) {
        case (_, 7): break
        case (Self.stackPointer, 0): depth = depth.flatMap { Self.sum($0, -instruction.immediate) }
        case (Self.stackPointer, 5): depth = depth.flatMap { Self.sum($0, instruction.immediate) }
        case (Self.stackPointer, _): depth = nil
        case (Self.framePointerRegister, _): frame = nil
        default: break
        }
    }

    /// Arithmetic of two operands.
    private mutating func executeBinary(_ instruction: Instruction) {
        let changed: UInt8?
        switch instruction.opcode & 7 {
        case 1: changed = instruction.operandRegister
        case 3: changed = instruction.register
        default: return
        }
        if changed == Self.stackPointer { depth = nil }
        guard changed == Self.framePointerRegister else { return }
        frame = nil
        let isClearing = instruction.opcode & 0x38 == 0x30 && instruction.operandRegister == instruction.register
        if isClearing, framePointer == .inRegister { if isSure { isOutermost = true } else { framePointer = .lost } }
    }

    private mutating func move(from source: UInt8, to instruction: Instruction) {
        if let target = instruction.operandRegister { return set(target, to: distance(of: source)) }
        // The caller's frame pointer may be stored without a push.
        guard source == Self.framePointerRegister, framePointer == .inRegister, let place = placeOnStack(instruction), place > 8 else { return }
        framePointer = .saved(place)
    }

    private mutating func move(from instruction: Instruction, to target: UInt8) {
        if let source = instruction.operandRegister { return set(target, to: distance(of: source)) }
        if target == Self.framePointerRegister, case .saved(let place) = framePointer, place == placeOnStack(instruction) { framePointer = .inRegister }
        set(target, to: nil)
    }

    /// `distance`: of the register's new value to the CFA.
    private mutating func set(_ register: UInt8, to distance: Int32?) {
        if register == Self.stackPointer { depth = distance }
        if register == Self.framePointerRegister {
            frame = distance
            if framePointer == .inRegister, distance != nil { framePointer = .lost }
        }
    }

    private func distance(of register: UInt8) -> Int32? {
        switch register {
        case Self.stackPointer: depth
        case Self.framePointerRegister: frame
        default: nil
        }
    }

    /// The distance of a memory operand's address to the CFA.
    private func address(_ instruction: Instruction) -> Int32? {
        guard let base = instruction.plainBase, let distance = distance(of: base) else { return nil }
        return Self.sum(distance, -instruction.displacement)
    }

    private func placeOnStack(_ instruction: Instruction) -> Int32? { instruction.prefixes.contains(.segment) ? nil : address(instruction) }

    private static func sum(_ one: Int32, _ other: Int64) -> Int32? { Int32(exactly: Int64(one) + other) }

    /// The row of a state, without pc, marked as derived. NONE if it isn't known where the frame begins.
    var row: kiln_unwind_row {
        if isOutermost { return .outermost }
        var row = kiln_unwind_row.none
        if let depth, depth >= 8, depth & 7 == 0, let words = Int16(exactly: depth >> 3) {
            row.rule = UInt8(KILN_UNWIND_SP.rawValue)
            row.offset = words
        } else if let frame, frame >= 8, frame & 7 == 0, let words = Int16(exactly: frame >> 3) {
            row.rule = UInt8(KILN_UNWIND_FP.rawValue)
            row.offset = words
        } else {
            return row
        }
        row.rule |= UInt8(KILN_UNWIND_DERIVED)
        switch framePointer {
        case .inRegister: break
        case .lost: row.frame_pointer = Int8(KILN_UNWIND_FP_UNDEFINED)
        case .saved(let place):
            row.frame_pointer = place > 8 && place < 127 * 8 && place & 7 == 0 ? Int8(-(place >> 3)) : Int8(KILN_UNWIND_FP_UNDEFINED)
        }
        return row
    }
}

extension Instruction {
    /// The register that the opcode itself names.
    var opcodeRegister: UInt8 { opcode & 7 | (rex & 1) << 3 }

    /// The register operand of ModRM.
    var register: UInt8 { modRMExtension | (rex & 4) << 1 }

    /// The other operand, if it is a register, too.
    var operandRegister: UInt8? {
        guard let modRM, modRM >> 6 == 3 else { return nil }
        return modRM & 7 | (rex & 1) << 3
    }

    /// The register of a memory operand that is one register and a displacement.
    fileprivate var plainBase: UInt8? {
        guard let modRM, modRM >> 6 < 3 else { return nil }
        let mode = modRM >> 6
        if modRM & 7 == 4 {
            guard let sib, sib >> 3 & 7 == 4, rex & 2 == 0, !(mode == 0 && sib & 7 == 5) else { return nil }
            return sib & 7 | (rex & 1) << 3
        }
        return mode == 0 && modRM & 7 == 5 ? nil : modRM & 7 | (rex & 1) << 3
    }
}
