/// The address of one stack frame, and what kind of address it is.
///
/// A return address points behind the call. When the call is the last instruction of a function
/// (a call to `abort`, say), that is already the next function: it has to be looked up minus one.
/// The innermost frame, and the frame a signal interrupted, hold the address of the instruction
/// itself, which must not be moved.
public enum FrameAddress: Hashable, Sendable {
    case instructionPointer(UInt64)
    case returnAddress(UInt64)

    /// The address as it stands on the stack or in the register.
    public var address: UInt64 {
        switch self {
        case .instructionPointer(let address), .returnAddress(let address): address
        }
    }

    /// An address inside the instruction that the frame is at.
    public var lookupAddress: UInt64 {
        switch self {
        case .instructionPointer(let address): address
        case .returnAddress(let address): address == 0 ? 0 : address - 1
        }
    }
}
