/// Why the kernel places no uprobe on an instruction (`arch/x86/kernel/uprobes.c`): it runs a copy of the instruction elsewhere, one step, and
/// knows of some that this doesn't do. Found by asking Linux 6.18 for each encoding; the test asks the running kernel again.
public enum RefusedInstruction: Hashable, Sendable {
    /// The bytes are no instruction.
    case undecodable
    /// A `lock` or segment prefix (26, 2e, 36, 3e), as in `lock decl (%rdi)` and `notrack jmp`.
    case prefix(UInt8)
    /// An instruction for the kernel or for debuggers (`in`, `hlt`, `int3`), or one that holds interrupts off (`mov %ss`).
    case privileged
    /// A jump or call with a 16-bit operand.
    case shortBranch
    /// A vector instruction whose opcode has the number of a refused one-byte instruction: the kernel doesn't tell them apart.
    case vector

    /// Nil: the kernel takes the first instruction of these bytes.
    public init?(at bytes: UnsafeRawBufferPointer) {
        if let prefix = bytes.prefix(Instruction.longest).prefix(while: Self.isPrefix).first(where: Self.refusedPrefixes.contains) {
            self = .prefix(prefix)
            return
        }
        // REX2, which newer kernels decode.
        if bytes.first == 0xd5 { return nil }
        guard let instruction = Instruction(bytes) else {
            self = .undecodable
            return
        }
        let opcode = instruction.opcode
        let isRefused = Self.isRefused(opcode) || opcode == 0x8e && instruction.modRMExtension == 2
        switch instruction.map {
        case .vector where isRefused: self = .vector
        case .one where isRefused: self = .privileged
        case .one where instruction.prefixes.contains(.operandSize) && (0x70...0x7f ~= opcode || opcode == 0xeb): self = .shortBranch
        default: return nil
        }
    }

    private static let refusedPrefixes: Set<UInt8> = [0x26, 0x2e, 0x36, 0x3e, 0xf0]

    private static func isPrefix(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x26, 0x2e, 0x36, 0x3e, 0x64...0x67, 0xf0, 0xf2, 0xf3: true
        default: false
        }
    }

    /// Opcodes of one byte; prefixes are none.
    private static func isRefused(_ opcode: UInt8) -> Bool {
        switch opcode {
        case 0x06, 0x07, 0x0e, 0x16, 0x17, 0x1e, 0x1f, 0x27, 0x2f, 0x37, 0x3f, 0x60, 0x61, 0x6c...0x6f, 0x82, 0x9a, 0xcc...0xcf, 0xd4, 0xd6,
            0xe4...0xe7, 0xea, 0xec...0xef, 0xf1, 0xf4, 0xfa, 0xfb:
            true
        default: false
        }
    }
}

extension RefusedInstruction: CustomStringConvertible {
    public var description: String {
        switch self {
        case .undecodable: "begins with bytes that are no instruction"
        case .prefix(0xf0): "begins with a lock prefix, which the kernel refuses"
        case .prefix(let byte): "begins with a segment prefix (\(String(byte, radix: 16))), which the kernel refuses"
        case .privileged: "begins with an instruction that the kernel refuses"
        case .shortBranch: "begins with a 16-bit jump, which the kernel refuses"
        case .vector: "begins with a vector instruction that the kernel refuses"
        }
    }
}
