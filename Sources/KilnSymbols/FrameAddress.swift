/// The address of a stack frame, and its kind.
///
/// A return address points after the call. If the call is the last instruction of a function (such as a call to `abort`), that is already
/// the next function, so the lookup uses the address minus one. The innermost frame, and a frame that a signal interrupted, have the
/// address of the instruction itself, which is looked up unchanged.
public enum FrameAddress: Hashable, Sendable {
    case instructionPointer(UInt64)
    case returnAddress(UInt64)

    /// The address on the stack or in the register.
    public var address: UInt64 {
        switch self {
        case .instructionPointer(let address), .returnAddress(let address): address
        }
    }

    /// An address inside the frame's present instruction.
    public var lookupAddress: UInt64 {
        switch self {
        case .instructionPointer(let address): address
        case .returnAddress(let address): address == 0 ? 0 : address - 1
        }
    }
}
