import KilnBPF

/// Rows for code that no call frame information covers (musl, handwritten assembly), derived from its instructions: each function is followed from
/// its beginning along its jumps, and how far it has moved the stack pointer is the same at an instruction whichever way leads there.
///
/// Functions begin at symbols, at the targets of calls, and behind what ends another. The rows are guesses (KILN_UNWIND_DERIVED): data between
/// instructions, a call that doesn't return, or a beginning that is none can make them wrong.
struct DerivedRows {
    /// The start of a function, and its end if a symbol has a size.
    struct Function {
        let start: UInt64
        let end: UInt64
    }

    /// Sorted; the first is at the range's start.
    private(set) var rows: [(address: UInt64, row: kiln_unwind_row)] = []

    private let code: UnsafeRawBufferPointer
    private let start: UInt64

    private var states = [StackState.unknown]
    private var numbers: [StackState: Int32] = [.unknown: 0]
    /// For each byte of the code: the number of its state, if an instruction begins there.
    private var stateAt: [Int32]
    private var lengths: [UInt8]
    /// The instruction was reached from a call before it, which may not have returned: a jump that leads there knows better.
    private var isBehindCall: [Bool]
    /// Distances from the start, sorted.
    private var entries: [Int] = []
    private var isEntry: [Bool]
    private var sized: [Range<UInt64>] = []
    /// By entry: how far its code reaches, its state at a jump through a table, and whether it returns or leaves by a jump.
    private var furthest: [Int] = []
    private var atJump: [StackState?] = []
    private var returns: [Bool] = []
    private var endless: Set<UInt64>
    /// Behind padding that follows a call: another function, if the call doesn't return.
    private var behindPadding: [Int: StackState] = [:]
    private let effort: Effort

    /// How many more instructions and table entries are read. A hostile file could have the same ones read for hours.
    private final class Effort {
        private(set) var left: Int

        init(_ most: Int) { left = most }

        func spend() -> Bool {
            guard left > 0 else { return false }
            left -= 1
            return true
        }
    }

    /// Of instructions and table entries for each byte of code; compilers' code needs three.
    private static let effortPerByte = 32
    /// More than code of compilers has. States beyond have no row.
    private static let mostStates = 1 << 16

    private static let unknown: Int32 = -1, unfollowed: Int32 = -2, signalReturn: Int32 = -3

    /// `functions`: those that begin in this code. `endless`: where functions begin that never return, in this code or elsewhere. `word`: reads a word of the file by its address.
    init(of code: UnsafeRawBufferPointer, at start: UInt64, functions: some Sequence<Function>, endless: Set<UInt64>, word: (UInt64) -> UInt64?) {
        self.code = code
        self.start = start
        stateAt = [Int32](repeating: Self.unknown, count: code.count)
        lengths = [UInt8](repeating: 0, count: code.count)
        isBehindCall = [Bool](repeating: false, count: code.count)
        isEntry = [Bool](repeating: false, count: code.count)
        self.endless = endless
        effort = Effort(code.count * Self.effortPerByte)
        for function in functions {
            guard let offset = offset(of: function.start) else { continue }
            isEntry[offset] = true
            if function.end > function.start { sized.append(function.start..<function.end) }
        }
        sized.sort { $0.lowerBound < $1.lowerBound }
        findCalls()
        entries = isEntry.indices.filter { isEntry[$0] }
        if entries.first != 0 { entries.insert(0, at: 0) }
        // What never returns because all that it does is to call such functions is known after a round.
        for _ in 0..<Self.rounds {
            reset()
            for entry in entries where isEntry[entry] { follow(from: entry, .entry, word) }
            for (position, state) in behindPadding.sorted(by: { $0.key < $1.key }) where stateAt[position] < 0 && isInside(position) {
                follow(from: position, state, word)
            }
            let known = self.endless.count
            for (number, entry) in entries.enumerated() where isEntry[entry] && !returns[number] { self.endless.insert(start + UInt64(entry)) }
            if self.endless.count == known { break }
        }
        followUnreached(word)
        writeRows()
    }

    private static let rounds = 4
    /// In instructions.
    private static let longestWay = 256

    private mutating func reset() {
        for position in stateAt.indices where lengths[position] > 0 {
            stateAt[position] = Self.unknown
            lengths[position] = 0
            isBehindCall[position] = false
        }
        furthest = entries
        atJump = entries.map { _ in nil }
        returns = entries.map { _ in false }
        behindPadding = [:]
    }

    private func offset(of address: UInt64) -> Int? { address >= start && address - start < UInt64(code.count) ? Int(address - start) : nil }

    private func instruction(at position: Int) -> Instruction? {
        effort.spend() ? Instruction(UnsafeRawBufferPointer(rebasing: code[position..<min(code.count, position + Instruction.longest)])) : nil
    }

    /// Functions without a symbol are known by who calls them. Follows the bytes from the first to the last one.
    private mutating func findCalls() {
        var position = 0
        while position < code.count {
            guard let instruction = instruction(at: position) else {
                position += 1
                continue
            }
            position += instruction.length
            if let distance = instruction.calledDistance, distance != 0, let target = sum(position, distance) { isEntry[target] = true }
        }
    }

    private func sum(_ position: Int, _ distance: Int64) -> Int? {
        let target = Int64(position) + distance
        return target >= 0 && target < Int64(code.count) ? Int(target) : nil
    }

    /// The entry at or before a position.
    private func owner(of position: Int) -> Int { entries.lastIndex(startingAtOrBelow: UInt64(position)) { UInt64($0) } ?? 0 }

    private mutating func number(of state: StackState) -> Int32 {
        if let known = numbers[state] { return known }
        if states.count == Self.mostStates { return 0 }
        let number = Int32(clamping: states.count)
        states.append(state)
        numbers[state] = number
        return number
    }

    private mutating func follow(from first: Int, _ state: StackState, _ word: (UInt64) -> UInt64?) {
        let owner = owner(of: first), end = owner + 1 < entries.count ? entries[owner + 1] : code.count
        var open = [(position: first, state: state)]
        while let path = open.popLast() {
            var (position, state) = path, known = number(of: state)
            var table: UInt64?, absoluteTable: UInt64?, bound: Int64?
            var behindCall = false
            // A path that corrects another one isn't corrected in turn.
            let isCorrection = position < code.count && corrects(position, known)
            while position < code.count, stateAt[position] < 0 || isCorrection && corrects(position, known), position == first || !isEntry[position],
                let instruction = instruction(at: position)
            {
                stateAt[position] = known
                lengths[position] = UInt8(instruction.length)
                isBehindCall[position] = behindCall
                if position < end { furthest[owner] = max(furthest[owner], position) }
                let place = position
                position += instruction.length
                let before = state
                state.execute(instruction)
                if instruction.isCall, !isCorrection { behindCall = true }
                var goesOn = !instruction.stops
                if let distance = instruction.calledDistance {
                    if endless.contains(start &+ UInt64(bitPattern: Int64(position) &+ distance)) {
                        goesOn = false
                    } else if !isCorrection, position < code.count, paddingLength(at: position) != nil {
                        var behind = position
                        while behind < code.count, let count = paddingLength(at: behind) { behind += count }
                        if behind < code.count, behindPadding[behind] == nil { behindPadding[behind] = state }
                        goesOn = false
                    }
                }
                if state != before { known = number(of: state) }
                if instruction.isSignalReturn(code, behind: position) { stateAt[place] = Self.signalReturn }
                if let distance = instruction.relativeOperand, instruction.map == .one, instruction.opcode == 0x8d {
                    table = (start &+ UInt64(position)) &+ UInt64(bitPattern: distance)
                }
                if instruction.map == .one, [0x8b, 0xff].contains(instruction.opcode), instruction.isAbsoluteAndScaled {
                    absoluteTable = UInt64(bitPattern: instruction.displacement)
                }
                if let compared = instruction.compared { bound = compared }
                switch instruction.flow {
                case .next: break
                case .branch(let distance):
                    if let target = sum(position, distance) { open.append((target, state)) }
                case .jump(let distance):
                    if let target = sum(position, distance), !isEntry[target] || target == entries[owner] {
                        open.append((target, state))
                    } else if !endless.contains(start &+ UInt64(bitPattern: Int64(position) &+ distance)) {
                        returns[owner] = true
                    }
                    goesOn = false
                case .indirectJump:
                    returns[owner] = true
                    atJump[owner] = state
                    let count = Int(clamping: bound.flatMap { $0 >= 0 && $0 < 4096 ? $0 + 1 : nil } ?? 256)
                    for target in targets(table, absoluteTable, count, within: entries[owner]..<end, word) { open.append((target, state)) }
                    goesOn = false
                case .nearReturn, .other:
                    returns[owner] = true
                    goesOn = false
                }
                if !goesOn { break }
            }
        }
    }

    /// Whether a path that arrives with a state knows better than the one that was there before.
    private func corrects(_ position: Int, _ number: Int32) -> Bool {
        let present = stateAt[position]
        return present >= 0 && present != number && isBehindCall[position] && (states[Int(number)].isSure || !states[Int(present)].isSure)
    }

    /// Where a jump through a table leads: distances from the table, or addresses.
    private func targets(_ table: UInt64?, _ absolute: UInt64?, _ count: Int, within function: Range<Int>, _ word: (UInt64) -> UInt64?) -> [Int] {
        var found: [Int] = []
        for index in 0..<UInt64(count) where effort.spend() {
            let address: UInt64
            if let absolute {
                guard let word = word(absolute &+ index * 8) else { break }
                address = word
            } else if let table {
                guard let word = word(table &+ index * 4) else { break }
                address = table &+ UInt64(bitPattern: Int64(Int32(truncatingIfNeeded: word)))
            } else {
                break
            }
            guard let target = offset(of: address), function.contains(target) else { break }
            found.append(target)
        }
        return found
    }

    /// What no jump leads to: functions that only pointers name, and targets of tables that were not found.
    private mutating func followUnreached(_ word: (UInt64) -> UInt64?) {
        var position = 0
        while position < code.count {
            if lengths[position] > 0 {
                position += Int(lengths[position])
            } else if let count = paddingLength(at: position) {
                position += count
            } else {
                if let state = likelyState(at: position) { follow(from: position, state, word) }
                if lengths[position] == 0 {
                    stateAt[position] = Self.unfollowed
                    position = endOfWay(from: position)
                }
            }
        }
    }

    /// Behind the next instruction that goes on elsewhere.
    private func endOfWay(from first: Int) -> Int {
        var position = first
        while position < code.count, lengths[position] == 0, let instruction = instruction(at: position) {
            position += instruction.length
            switch instruction.flow {
            case .next, .branch: if instruction.stops { return position }
            default: return position
            }
            if let distance = instruction.calledDistance, callEnds(distance, behind: position) { return position }
        }
        return max(position, first + 1)
    }

    /// Whether a call doesn't return, or may not: only padding follows.
    private func callEnds(_ distance: Int64, behind position: Int) -> Bool {
        endless.contains(start &+ UInt64(bitPattern: Int64(position) &+ distance)) || position < code.count && paddingLength(at: position) != nil
    }

    private func paddingLength(at position: Int) -> Int? {
        if code[position] == 0xcc { return 1 }
        if code[position] == 0, position + 1 == code.count || code[position + 1] == 0 { return min(2, code.count - position) }
        guard let instruction = instruction(at: position) else { return nil }
        let isPadding = instruction.map == .two && instruction.opcode == 0x1f || instruction.map == .one && instruction.opcode == 0x90
        return isPadding ? instruction.length : nil
    }

    /// Of the states that a function may have there, the first with which it returns as it should.
    private func likelyState(at position: Int) -> StackState? {
        let owner = owner(of: position), inside = isInside(position)
        let own = [behindPadding[position], atJump[owner]].compactMap { $0 }
        let isAligned = (start &+ UInt64(position)) & 15 == 0
        let states = inside ? own : isAligned ? [.likelyEntry] + own : own + [.likelyEntry]
        return states.first { fits($0, at: position) == true } ?? states.first { ($0 != .likelyEntry || isAligned) && fits($0, at: position) == nil }
    }

    /// Whether code from a position on that begins with a state returns with nothing on the stack, or goes on where the state is known. Nil: neither, on
    /// the way that needs no branch.
    private func fits(_ first: StackState, at position: Int) -> Bool? {
        var state = first, position = position
        for _ in 0..<Self.longestWay {
            guard position < code.count else { return nil }
            if stateAt[position] >= 0 {
                let known = states[Int(stateAt[position])]
                return known.depth == nil || state.depth == nil ? nil : known.depth == state.depth
            }
            guard let instruction = instruction(at: position), !instruction.stops else { return nil }
            position += instruction.length
            if let distance = instruction.calledDistance, callEnds(distance, behind: position) { return nil }
            if case .nearReturn = instruction.flow { return state.depth.map { $0 == 8 } }
            state.execute(instruction)
            if let depth = state.depth, depth < 8 { return false }
            switch instruction.flow {
            case .next, .branch: break
            case .jump(let distance):
                guard let target = sum(position, distance) else { return nil }
                if isEntry[target] { return state.depth.map { $0 == 8 } }
                position = target
            default: return nil
            }
        }
        return nil
    }

    /// Whether a position belongs to a function that begins before: its symbol says so, or one of its jumps leads further.
    private func isInside(_ position: Int) -> Bool {
        let address = start &+ UInt64(position)
        let symbol = sized.lastIndex(startingAtOrBelow: address, start: \.lowerBound).map { sized[$0] }
        return symbol?.contains(address) == true || furthest[owner(of: position)] > position
    }

    private mutating func writeRows() {
        for position in stateAt.indices.filter({ stateAt[$0] == Self.signalReturn }) {
            // A return address is looked up by the byte before it.
            if position > 0, lengths[position - 1] == 0 { stateAt[position - 1] = Self.signalReturn }
            var behind = position + Int(lengths[position])
            if behind < code.count { stateAt[behind] = Self.signalReturn }
            behind += behind < code.count ? Int(lengths[behind]) : 0
            if behind < code.count, stateAt[behind] < 0 { stateAt[behind] = Self.unfollowed }
        }
        for (position, number) in stateAt.enumerated() {
            let row: kiln_unwind_row
            switch number {
            case Self.unknown where position > 0: continue
            case Self.unknown, Self.unfollowed: row = .none
            case Self.signalReturn: row = .signal
            default: row = states[Int(number)].row
            }
            if let last = rows.last?.row, last.offset == row.offset, last.frame_pointer == row.frame_pointer, last.rule == row.rule { continue }
            rows.append((start &+ UInt64(position), row))
        }
    }
}

extension DerivedRows {
    private static let endlessNames = Set(
        [
            "abort", "exit", "_exit", "_Exit", "quick_exit", "pthread_exit", "thrd_exit", "longjmp", "_longjmp", "siglongjmp", "__longjmp_chk", "err", "errx",
            "verr",
            "verrx", "__assert_fail", "__assert_perror_fail", "__stack_chk_fail", "__stack_chk_fail_local", "__fortify_fail", "__chk_fail", "_Unwind_Resume",
            "__cxa_throw",
            "__cxa_rethrow", "__cxa_bad_cast", "__cxa_bad_typeid", "__cxa_throw_bad_array_new_length", "_ZSt9terminatev",
        ].map { Array($0.utf8) })

    /// What C and C++ say of their own functions: those that end the program or the thread, jump away, or throw.
    static func neverReturns(_ name: ArraySlice<UInt8>) -> Bool {
        endlessNames.contains(Array(name)) || name.starts(with: "_ZSt".utf8) && String(decoding: name, as: UTF8.self).contains("__throw_")
    }
}

extension kiln_unwind_row {
    /// A signal handler returns here.
    fileprivate static var signal: kiln_unwind_row { UnwindRowEncoder.row(KILN_UNWIND_SIGNAL) }
}

extension Instruction {
    fileprivate var isCall: Bool { map == .one && (opcode == 0xe8 || opcode == 0xff && modRMExtension == 2) }

    /// `hlt`, `int3` and `ud2` in code are where control doesn't come.
    fileprivate var stops: Bool { map == .one && [0xf4, 0xcc].contains(opcode) || map == .two && opcode == 0x0b }

    /// A memory operand that is a constant and a scaled register.
    fileprivate var isAbsoluteAndScaled: Bool {
        guard let modRM, let sib else { return false }
        return modRM >> 6 == 0 && modRM & 7 == 4 && sib & 7 == 5 && sib >> 3 & 7 != 4
    }

    /// The constant of a comparison.
    fileprivate var compared: Int64? {
        guard map == .one else { return nil }
        switch opcode {
        case 0x3c, 0x3d: return immediate
        case 0x80, 0x81, 0x83: return modRMExtension == 7 ? immediate : nil
        default: return nil
        }
    }

    /// mov $15, %eax or %rax before a system call: where signal handlers return to.
    fileprivate func isSignalReturn(_ code: UnsafeRawBufferPointer, behind position: Int) -> Bool {
        guard map == .one, position + 2 <= code.count, code[position] == 0x0f, code[position + 1] == 0x05 else { return false }
        return switch opcode {
        case 0xb8: rex == 0 && length == 5 && immediate == 15
        case 0xc7: rex == 0x48 && modRM == 0xc0 && immediate == 15
        default: false
        }
    }
}
