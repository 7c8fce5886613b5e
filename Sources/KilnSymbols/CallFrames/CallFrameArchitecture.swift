import CElfutils

/// The processor-specific parts of unwind rows: DWARF register numbers and the calling convention. Another 64-bit little-endian
/// architecture whose calls push the return address is another value of this type. One that keeps it in a register, such as arm64, also
/// needs more kinds of rows (kiln_unwind.h).
struct CallFrameArchitecture: Sendable {
    /// Registers at fixed distances from the stack pointer in a signal trampoline, in bytes.
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
    /// The offset of a return address on the stack from the canonical frame address (CFA), in bytes.
    let returnAddressOffset: Int64
    /// The size of a stack word, in bytes.
    let wordSize: Int64
    let signalFrame: SignalFrame
    /// The linkers' DWARF expression for the CFA in the procedure linkage table. The byte at `pltThreshold` is DW_OP_lit0 plus the offset
    /// in a 16-byte slot after which one more word is on the stack.
    let pltExpression: [UInt8]
    let pltThreshold: Int

    /// System V ABI, AMD64 supplement, figure 3.36: rbp 6, rsp 7, return address 16. The signal frame is the kernel's `struct rt_sigframe`
    /// without its first word, which the handler's `ret` has popped: `uc_mcontext` at sp + 40, and in it (`struct sigcontext_64`) bp at 80,
    /// sp at 120, ip at 128.
    static let x86_64 = CallFrameArchitecture(
        machine: UInt16(EM_X86_64), framePointer: 6, stackPointer: 7, registerCount: 16, returnAddressOffset: -8, wordSize: 8,
        signalFrame: SignalFrame(framePointer: 120, stackPointer: 160, instructionPointer: 168),
        // breg7 8; breg16 0; lit15; and; lit11; ge; lit3; shl; plus
        pltExpression: [0x77, 0x08, 0x80, 0x00, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22], pltThreshold: 6)

    static let all: [CallFrameArchitecture] = [.x86_64]
}
