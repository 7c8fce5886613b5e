import Foundation
import KilnBPF
import KilnSymbols
import Testing
import UnwindHost

/// How a stack ends that can't be followed to its outermost function, by the kernel's source compiled for user space.
@Suite(.enabled(if: Tools.compiler && Tools.binutils, "needs cc and nm (build-essential)"))
struct UnwindEndTests {
    /// A stack in memory, and a few bytes of code; what lies beside them can't be read.
    private final class Stack {
        static let start: UInt64 = 0x7f00_0000_0000
        /// A word for each 8 bytes from `start` on.
        let words: [UInt64]
        let code: (start: UInt64, bytes: [UInt8])

        init(_ words: [UInt64], code: (start: UInt64, bytes: [UInt8])) {
            self.words = words
            self.code = code
        }

        static let read: unwind_read = { context, address, to, size in
            guard let context, let to else { return false }
            let stack = Unmanaged<Stack>.fromOpaque(context).takeUnretainedValue(), words = stack.words
            if address >= stack.code.start, address - stack.code.start &+ UInt64(size) <= UInt64(stack.code.bytes.count) {
                let bytes = stack.code.bytes[Int(address - stack.code.start)...].prefix(size)
                UnsafeMutableRawBufferPointer(start: to, count: size).copyBytes(from: bytes)
                return true
            }
            guard address >= start, address - start &+ UInt64(size) <= UInt64(words.count) * 8 else { return false }
            words.withUnsafeBytes { UnsafeMutableRawBufferPointer(start: to, count: size).copyBytes(from: $0[Int(address - start)...].prefix(size)) }
            return true
        }
    }

    private static func function(_ name: String, _ rules: String?) -> String {
        """
        .globl \(name)
        .type \(name), @function
        \(name):
        \(rules.map { ".cfi_startproc\n" + $0 } ?? "")
        .fill 64, 1, 0x90
        \(rules == nil ? "" : ".cfi_endproc")
        .size \(name), .-\(name)

        """
    }

    /// Code whose frames count from the stack pointer, from the frame pointer, and code without a row between code with rows.
    private static let code =
        ".text\n" + function("by_sp", "") + function("by_fp", ".cfi_def_cfa 6, 16\n.cfi_offset 6, -16")
        + function("without", nil) + function("last", "")

    private let host: HostUnwinder
    private let symbols: [String: UInt64]

    init() throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let path = try workshop.compile(Self.code, to: "ends", extension: "s", UnwindFixtureTests.bare)
        let table = try unwindTable(of: path)
        let end = table.base + UInt64(table.granuleCount) << UInt64(KILN_UNWIND_GRANULE_SHIFT)
        host = try #require(HostUnwinder([.init(start: table.base, end: end, bias: 0, table: table)]))
        symbols = Dictionary(try listedSymbols(of: path, dynamic: false).map { ($0.name, $0.address) }) { first, _ in first }
    }

    private func inside(_ name: String) throws -> UInt64 { try #require(symbols[name]) + 8 }

    /// `sp` and `fp`: bytes from the stack's first on; without, the frame pointer is 0. The end by its name in every output.
    private func end(
        at pc: UInt64, sp: UInt64 = 0, fp: Int64? = nil, stack words: [UInt64], codeSegment: UInt16 = 0x33, r11: UInt64 = 0, rcx: UInt64 = 0, rax: UInt64 = 0,
        code: (start: UInt64, bytes: [UInt8]) = (0, [])
    ) -> (frames: [UInt64], end: String) {
        var registers = [UInt64](repeating: 0, count: Int(UNWIND_REGISTERS))
        registers[6] = fp.map { UInt64(Int64(Stack.start) + $0) } ?? 0
        registers[7] = Stack.start + sp
        registers[16] = pc
        (registers[0], registers[2], registers[11]) = (rax, rcx, r11)
        host.setCodeSegment(codeSegment)
        let stack = Stack(words, code: code)
        let found = host.stack(registers, Stack.read, Unmanaged.passUnretained(stack).toOpaque())
        withExtendedLifetime(stack) {}
        return (found.frames, String(cString: kiln_describe_stack_end(found.end.rawValue).name))
    }

    @Test func codeThatNoRowCoversEndsAsNoRow() throws {
        let innermost = end(at: try inside("without"), stack: [1, 1])
        #expect(innermost.end == "no_row")
        #expect(innermost.frames == [try inside("without")])
        let caller = end(at: try inside("by_sp"), stack: [try inside("without"), 1])
        #expect(caller.end == "no_row")
        #expect(caller.frames == [try inside("by_sp"), try inside("without")])
    }

    @Test func aStackThatCannotBeReadEndsAsUnreadableMemory() throws {
        #expect(end(at: try inside("by_sp"), stack: []).end == "unreadable_memory")
        // The second return address lies behind the stack's last word.
        let second = end(at: try inside("by_sp"), stack: [try inside("last")])
        #expect(second.end == "unreadable_memory")
        #expect(second.frames == [try inside("by_sp"), try inside("last")])
        // So does a saved frame pointer, which the caller's frame counts from.
        let saved = end(at: try inside("by_fp"), fp: -8, stack: [try inside("by_fp"), 0])
        #expect(saved.end == "unreadable_memory")
        #expect(saved.frames == [try inside("by_fp"), try inside("by_fp")])
    }

    @Test func aFrameThatLiesBelowItsCalleesEndsAsStuck() throws {
        let code = try inside("by_fp")
        // At 32 the saved frame pointer, which points to 0, and the return address; at 0 the same again.
        let found = end(at: code, fp: 32, stack: [Stack.start, code, 0, 0, Stack.start, code])
        #expect(found.end == "stuck")
        #expect(found.frames == [code, code])
    }

    @Test func codeOf32BitsEndsAsCompat32Bit() throws {
        let found = end(at: try inside("by_sp"), stack: [try inside("last"), 0], codeSegment: 0x23)
        #expect(found.end == "compat_32_bit")
        #expect(found.frames == [try inside("by_sp")])
        #expect(end(at: try inside("by_sp"), stack: [try inside("last"), 0]).end == "complete")
    }

    private static let probesPage: UInt64 = 0x7fff_ffff_e000

    @Test func replacedReturnAddressesAreFollowedByTheKernelsList() throws {
        let first = try inside("by_sp"), second = try inside("last")
        // A call whose frame is gone (longjmp) is still listed.
        let returns: [(slot: UInt64, address: UInt64)] = [
            (Stack.start - 64, 4), (Stack.start, second), (Stack.start + 8, first), (Stack.start + 16, second),
        ]
        #expect(host.setProbes(page: Self.probesPage, returns: returns))
        let found = end(at: first, stack: [Self.probesPage, Self.probesPage, Self.probesPage, 0])
        #expect(found.frames == [first, second, first, second])
        #expect(found.end == "complete")
    }

    @Test func aReplacedReturnAddressThatIsNotListedEndsAsProbedReturn() throws {
        let code = try inside("by_sp")
        #expect(host.setProbes(page: Self.probesPage, returns: [(Stack.start + 8, code)]))
        let found = end(at: code, stack: [Self.probesPage, 0])
        #expect(found.frames == [code])
        #expect(found.end == "probed_return")
    }

    /// What the trampoline has pushed at each of its instructions: code of Linux 6.11 and later. The first is all that earlier ones have.
    @Test(arguments: [(0, 0), (1, 1), (2, 2), (4, 3), (11, 3), (13, 3), (13, 0)] as [(UInt64, UInt64)])
    func aTrampolineReturnsToTheProbedCallsCaller(offset: UInt64, pushed: UInt64) throws {
        let caller = try inside("by_sp"), outer = try inside("last")
        // Four words of the function that has returned, the fourth its return address.
        #expect(host.setProbes(page: Self.probesPage, returns: [(Stack.start + 24, caller)]))
        let found = end(at: Self.probesPage + offset, sp: 32 - 8 * pushed, stack: [1, 2, 3, Self.probesPage, outer, 0])
        #expect(found.frames == [caller, outer])
        #expect(found.end == "complete")
    }

    /// The kernel has put the address right; what the trampoline pushed is still there.
    @Test func theRegistersThatATrampolinePushedAreNoFrame() throws {
        let caller = try inside("by_sp"), outer = try inside("last")
        #expect(host.setProbes(page: Self.probesPage, returns: []))
        host.setTrapped(true)
        #expect(end(at: caller, stack: [5, 6, 7, outer, 0], r11: 5, rcx: 6, rax: 7).frames == [caller, outer])
        #expect(end(at: caller, stack: [outer, 0, 7, 0], r11: 5, rcx: 6, rax: 7).frames == [caller, outer])
    }

    /// The kernel has taken the call off its list and left the address to the trampoline's own return.
    @Test(arguments: [(13, 8), (15, 16), (16, 24)] as [(UInt64, UInt64)])
    func aTrampolineThatTheKernelIsDoneWithReturnsByTheStack(offset: UInt64, sp: UInt64) throws {
        let caller = try inside("by_sp"), outer = try inside("last")
        #expect(host.setProbes(page: Self.probesPage, returns: []))
        let call = (start: caller - 8, bytes: [0x90, 0x90, 0x90, 0xe8, 0, 0, 0, 0] as [UInt8])
        #expect(end(at: Self.probesPage + offset, sp: sp, stack: [0, 2, 3, caller, outer, 0], code: call) == ([caller, outer], "complete"))
        // Not yet there: what the trampoline pushed first.
        #expect(end(at: Self.probesPage + offset, sp: sp, stack: [0, 2, 3, 7, outer, 0], code: call) == ([], "probed_return"))
    }

    @Test func aProbedInstructionThatRunsElsewhereStandsWhereItBelongs() throws {
        let code = try inside("by_sp"), outer = try inside("last"), copy = Self.probesPage + 256
        #expect(host.setProbes(page: Self.probesPage, returns: []))
        host.setProbedInstruction(at: code, runningAt: copy)
        #expect(end(at: copy, stack: [outer, 0]).frames == [code, outer])
        #expect(end(at: copy + 3, stack: [outer, 0]).frames == [code + 3, outer])
        // The next slot is another thread's.
        #expect(end(at: copy + 128, stack: [outer, 0]).end == "probed_return")
    }

    @Test func aTrapStandsAtItsBreakpoint() throws {
        let code = try inside("by_sp"), outer = try inside("last")
        func first(trapped: Bool, _ bytes: [UInt8]) -> [UInt64] {
            host.setTrapped(trapped)
            return end(at: code + 1, stack: [outer, 0], code: (code, bytes)).frames
        }
        // A task that has met no probe has been interrupted.
        #expect(first(trapped: true, [0xcc, 0x55]) == [code + 1, outer])
        #expect(host.setProbes(page: 0, returns: []))
        #expect(first(trapped: true, [0xcc, 0x55]) == [code, outer])
        #expect(first(trapped: false, [0xcc, 0x55]) == [code + 1, outer])
        // Already put right: the breakpoint is the next instruction, and what lies before it is padding.
        #expect(first(trapped: true, [0xcc, 0xcc]) == [code + 1, outer])
        #expect(first(trapped: true, [0x90, 0x55]) == [code + 1, outer])
    }

    @Test func aProgramThatIsExecutedOrHasEndedHasNoStack() throws {
        let code = try inside("by_sp")
        host.setMemory(inExec: true)
        #expect(end(at: code, stack: [code, 0]) == ([], "in_exec"))
        host.setMemory(exiting: true)
        #expect(end(at: code, stack: [code, 0]) == ([], "exiting"))
    }

    /// The loader's first instructions have no row, and nobody has called them.
    @Test func codeWithoutRowAtTheProcessesFirstFrameIsTheOutermost() throws {
        let code = try inside("by_sp"), first = try inside("without")
        let stack = [first, 1, 0x7fff, 0]
        #expect(end(at: code, stack: stack) == ([code, first], "no_row"))
        host.setStackStart(Stack.start + 8)
        #expect(end(at: code, stack: stack) == ([code, first], "complete"))
        #expect(end(at: first, sp: 8, stack: stack) == ([first], "complete"))
        host.setStackStart(Stack.start + 4096)
        #expect(end(at: code, stack: stack) == ([code, first], "no_row"))
    }

    @Test func anAddressOutsideOfAllCodeEndsAsNotCode() throws {
        let code = try inside("by_sp")
        #expect(end(at: code, stack: [0x1234, 0]) == ([code], "not_code"))
    }

    /// A frame pointer is followed where there is no row, and may hold anything.
    @Test(arguments: [true, false])
    func aGuessHasToLeadBehindACall(called: Bool) throws {
        let code = try inside("without"), caller = try inside("last")
        let bytes: [UInt8] = [0x90, 0x90, 0x90, called ? 0xe8 : 0xe9, 0, 0, 0, 0]
        // Not on top of the stack: that is tried first, for stubs.
        let found = end(at: code, fp: 8, stack: [1, 0, caller, 0], code: (caller - 8, bytes))
        #expect(found == (called ? [code, caller] : [code], called ? "complete" : "no_row"))
    }

    /// What a search of the stack takes for a return address of code without a row: a word behind a call of that code, or else behind a call through a
    /// register; not one behind a call of other code, which an earlier call left there.
    @Test func theStackIsSearchedForACallOfTheCode() throws {
        let code = try inside("without"), last = try #require(symbols["last"]), without = try #require(symbols["without"])
        var bytes = [UInt8](repeating: 0x90, count: 64)
        func call(of target: UInt64, endingAt offset: Int) {
            let distance = Int32(truncatingIfNeeded: Int64(bitPattern: target &- (last + UInt64(offset))))
            bytes.replaceSubrange(offset - 5..<offset, with: [0xe8] + withUnsafeBytes(of: distance.littleEndian) { Array($0) })
        }
        call(of: without, endingAt: 16)
        bytes.replaceSubrange(30..<32, with: [0xff, 0xd0])
        call(of: without + 0x100_0000, endingAt: 48)
        let here = last + 16, unknown = last + 32, elsewhere = last + 48
        /// The first word is tried as that of a stub.
        func caller(_ words: [UInt64]) -> [UInt64] { Array(end(at: code, stack: [1] + words + [0, 0, 0], code: (last, bytes)).frames.dropFirst()) }
        #expect(caller([5, here]) == [here])
        #expect(caller([unknown, 5]) == [unknown])
        #expect(caller([unknown, here]) == [here])
        #expect(caller([elsewhere, here]) == [here])
        #expect(caller([elsewhere, unknown]) == [unknown])
        #expect(caller([elsewhere, 5]) == [])
        // Behind nothing, and outside of all code.
        #expect(caller([last + 20, 0x7777_0000, here]) == [here])
        // As far as a window of the stack.
        #expect(caller([UInt64](repeating: 5, count: 126) + [here]) == [here])
        #expect(caller([UInt64](repeating: 5, count: 127) + [here]) == [])
        // Not beyond a frame; at the frame itself, whatever was called.
        let framed = end(at: code, fp: 16, stack: [1, 5, 0, elsewhere, 0, here], code: (last, bytes))
        #expect(framed.frames == [code, elsewhere])
        #expect(end(at: code, fp: 24, stack: [1, here, 5, 0, elsewhere, 0], code: (last, bytes)).frames == [code, here])
    }

    /// As the assembler encodes them, with each kind of operand.
    @Test func everyEncodingOfACallIsKnownAndNothingElseIs() throws {
        let registers = ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"]
        let memory =
            registers.flatMap { ["(%\($0))", "8(%\($0))", "-8(%\($0))", "0x1000(%\($0))", "0x100000(%\($0),%rcx,4)", "1(%\($0),%r9,2)", "(%\($0),%rdx)"] }
            + ["0x1000(,%rax,8)", "0x40(%rip)", "0x1000", "%fs:0x28", "%gs:(%rax)"]
        let operands = registers.map { "%" + $0 } + memory
        let calls = operands.map { "call *\($0)" } + operands.filter { !$0.contains("s:") }.map { "notrack call *\($0)" } + ["call target", "call target+1000"]
        // What an assembler writes for the same operands where nothing is called; a return may not lead behind them.
        let others =
            operands.map { "jmp *\($0)" } + operands.map { "push \($0)" } + registers.map { "mov %\($0), %rax" } + ["jmp target", "nop", "ret", "leave"]
        let workshop = try Workshop()
        defer { workshop.remove() }
        let marked = (calls.map { ("c", $0) } + others.map { ("o", $0) }).enumerated().map { index, item in
            ".fill 16, 1, 0x90\n\(item.1)\n" + Self.function(item.0 + String(index), nil)
        }
        let path = try workshop.compile(".text\ntarget:\n" + marked.joined(), to: "calls", extension: "s", UnwindFixtureTests.bare)
        let file = [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
        let offsets = try fileOffsets(ofFunctions: Set((calls + others).indices.map { ($0 < calls.count ? "c" : "o") + "\($0)" }), inFile: path)
        var wrong: [String] = []
        for (index, text) in (calls + others).enumerated() {
            let isCall = index < calls.count, name = (isCall ? "c" : "o") + "\(index)"
            let offset = Int(try #require(offsets[name]))
            if followsCall(Array(file[(offset - 16)..<offset])) != isCall { wrong.append(text) }
        }
        #expect(wrong.isEmpty)
        #expect(followsCall([]) == nil)
    }

    /// Of an address behind these bytes.
    private func followsCall(_ bytes: [UInt8]) -> Bool? {
        let stack = Stack([], code: (0x1000, bytes))
        defer { withExtendedLifetime(stack) {} }
        return host.followsCall(0x1000 + 16, Stack.read, Unmanaged.passUnretained(stack).toOpaque())
    }
}
