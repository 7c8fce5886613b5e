/// Where a function returns: for probes at its returns without a return probe, which replaces the return address on the stack and so ends Go
/// programs, whose runtime walks and moves stacks.
public struct ReturnPlaces: Equatable, Sendable {
    /// A jump that leaves the function for another one, which then returns in its place.
    public struct TailJump: Equatable, Sendable {
        /// Of the jump in the file.
        public let offset: UInt64
        /// The address that it jumps to, as linked.
        public let target: UInt64
        /// It may go on in the function instead.
        public let isConditional: Bool
    }

    /// The file offsets of all `ret` instructions, in order.
    public let returns: [UInt64]
    public let tailJumps: [TailJump]
    /// The file offsets of jumps through a register or memory: into the function (`switch`) or out of it.
    public let indirectJumps: [UInt64]
}

/// Why the return instructions of a function are unknown.
public enum ReturnPlacesError: Error, Equatable, Sendable {
    case unknownSize
    case unreadable
    case tooLarge(size: UInt64)
    /// At this distance from its beginning.
    case undecodable(at: UInt64)
    /// An instruction jumps to this distance, where by the others none begins: there is data between.
    case jumpsBetweenInstructions(at: UInt64)
    /// An instruction reads the function's own bytes, at this distance.
    case containsData(at: UInt64)
    /// It leaves by a far jump, or returns from a signal.
    case unusual(at: UInt64)
    case otherProcessor
}

extension ReturnPlacesError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .unknownSize: "nothing says where its code ends"
        case .unreadable: "its code can't be read"
        case .tooLarge(let size): "it has \(size) bytes"
        case .undecodable(let distance): "its code holds no instruction at +0x\(String(distance, radix: 16))"
        case .jumpsBetweenInstructions(let distance): "its code jumps into the middle of an instruction at +0x\(String(distance, radix: 16))"
        case .containsData(let distance): "its code holds data at +0x\(String(distance, radix: 16))"
        case .unusual(let distance): "its code leaves in an unusual way at +0x\(String(distance, radix: 16))"
        case .otherProcessor: "its code is for another processor"
        }
    }
}

extension ReturnPlaces {
    /// Compilers' largest functions have a few MiB.
    static let largestFunction: UInt64 = 16 << 20

    /// Decodes a function from its first to its last byte. `address`, `offset`: of its first byte.
    init(of code: UnsafeRawBufferPointer, at address: UInt64, offset: UInt64) throws(ReturnPlacesError) {
        var starts = [Bool](repeating: false, count: code.count)
        var inner: [UInt64] = [], returns: [UInt64] = [], tailJumps: [TailJump] = [], indirect: [UInt64] = []
        var position = 0
        while position < code.count {
            guard let instruction = Instruction(UnsafeRawBufferPointer(rebasing: code[position...])) else {
                throw .undecodable(at: UInt64(position))
            }
            starts[position] = true
            let next = position + instruction.length, place = offset &+ UInt64(position)
            func distance(_ relative: Int64) -> UInt64 { UInt64(bitPattern: Int64(next) &+ relative) }
            if let operand = instruction.relativeOperand, distance(operand) < UInt64(code.count) {
                throw .containsData(at: distance(operand))
            }
            let isBranch: Bool = if case .branch = instruction.flow { true } else { false }
            switch instruction.flow {
            case .next: break
            case .nearReturn: returns.append(place)
            case .indirectJump: indirect.append(place)
            case .other: throw .unusual(at: UInt64(position))
            case .jump(let relative), .branch(let relative):
                let target = distance(relative)
                if target < UInt64(code.count) {
                    inner.append(target)
                } else {
                    tailJumps.append(TailJump(offset: place, target: address &+ target, isConditional: isBranch))
                }
            }
            position = next
        }
        // The last instruction may not run over the end.
        guard position == code.count else { throw .undecodable(at: UInt64(code.count)) }
        // Between data and code no boundary is sure.
        if let between = inner.first(where: { !starts[Int($0)] }) { throw .jumpsBetweenInstructions(at: between) }
        self.returns = returns
        self.tailJumps = tailJumps
        indirectJumps = indirect
    }
}
