import CElfutils

/// What the rows of an unwind table take for granted about a processor: register numbers of its DWARF mapping, and where
/// its calling convention puts things. Another 64-bit little-endian architecture whose calls push the return address is another value
/// of this type; one that leaves it in a register, as arm64, needs rules of rows besides (kiln_unwind.h).
struct CallFrameArchitecture: Sendable {
    /// The registers that a signal trampoline finds at fixed distances from its stack pointer, in bytes.
    struct SignalFrame: Sendable {
        let framePointer: Int64
        let stackPointer: Int64
        let instructionPointer: Int64
    }

    /// e_machine of its ELF files.
    let machine: UInt16
    let framePointer: UInt64
    let stackPointer: UInt64
    /// General registers have the numbers 0 ..< this.
    let registerCount: UInt64
    /// Where the return address is when it is on the stack, relative to the canonical frame address, in bytes.
    let returnAddressOffset: Int64
    /// A word of the stack, in bytes.
    let wordSize: Int64
    let signalFrame: SignalFrame
    /// What linkers write for the procedure linkage table's CFA: bytes of an expression. The byte at `pltThreshold` is
    /// DW_OP_lit0 plus the offset in a 16-byte slot from which on one word more is on the stack.
    let pltExpression: [UInt8]
    let pltThreshold: Int

    /// System V ABI, AMD64 supplement, figure 3.36: rbp 6, rsp 7, return address 16. The signal frame is the kernel's
    /// `struct rt_sigframe` without its first word, which the handler's `ret` has taken: `uc_mcontext` at sp + 40, and in
    /// that (`struct sigcontext_64`) bp at 80, sp at 120, ip at 128.
    static let x86_64 = CallFrameArchitecture(
        machine: UInt16(EM_X86_64), framePointer: 6, stackPointer: 7, registerCount: 16, returnAddressOffset: -8, wordSize: 8,
        signalFrame: SignalFrame(framePointer: 120, stackPointer: 160, instructionPointer: 168),
        // breg7 8; breg16 0; lit15; and; lit11; ge; lit3; shl; plus
        pltExpression: [0x77, 0x08, 0x80, 0x00, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22], pltThreshold: 6)

    static let all: [CallFrameArchitecture] = [.x86_64]
}
