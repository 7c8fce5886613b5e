import Foundation
import KilnBPF
import SystemPackage
import Testing

@testable import KilnSymbols

/// Rows that are derived from instructions, against the call frame information of the same code.
@Suite struct DerivedRowTests {
    private static func table(of path: String, from sources: UnwindTable.Sources) throws -> UnwindTable {
        let file = try FileDescriptor.open(FilePath(path), .readOnly, options: .closeOnExec)
        return try file.closeAfter { try UnwindTable(reading: file, named: path, from: sources) }
    }

    private struct Comparison {
        var same = 0
        /// No row is derived.
        var none = 0
        var wrong: [String] = []
        /// Counted from another register, or not expressed by a row.
        var others = 0

        var compared: Int { same + none + wrong.count }
    }

    /// At each byte of the code that call frame information covers, or each of so many.
    private static func compare(_ path: String, every: UInt64 = 1) throws -> Comparison {
        let truth = try table(of: path, from: .callFrames), derived = try table(of: path, from: .instructions)
        var result = Comparison()
        let end = truth.base + UInt64(truth.granuleCount) << UInt64(KILN_UNWIND_GRANULE_SHIFT)
        for address in stride(from: truth.base, to: end, by: Int(every)) {
            guard let expected = truth.row(at: address), [KILN_UNWIND_SP, KILN_UNWIND_FP].contains(where: { $0.rawValue == UInt32(expected.rule) })
            else { continue }
            guard let row = derived.row(at: address), UInt32(row.rule) != KILN_UNWIND_NONE.rawValue else {
                result.none += 1
                continue
            }
            if row.rule & ~UInt8(KILN_UNWIND_DERIVED) != expected.rule {
                result.others += 1
            } else if row.offset == expected.offset {
                result.same += 1
            } else {
                result.wrong.append("\(String(address, radix: 16)): \(row) but \(expected)")
            }
        }
        return result
    }

    @Test(arguments: [["/usr/bin/redis-server"], UnwindReferenceTests.libraries("libc.so.6")])
    func derivedRowsOfStockFilesSayWhatCallFrameInformationSays(paths: [String]) throws {
        let path = try firstExisting(paths)
        let result = try Self.compare(path, every: 5)
        let wrong = Double(result.wrong.count) / Double(result.compared), same = Double(result.same) / Double(result.compared)
        print("\(path): of \(result.compared) bytes of code \(result.same) have the same row, \(result.none) none, \(result.wrong.count) another")
        #expect(result.compared > 100_000)
        #expect(same >= 0.98)
        #expect(wrong <= 0.002, "\(result.wrong.prefix(5))")
    }

    @Test(
        .enabled(if: Tools.compiler && Tools.binutils, "needs cc and nm (build-essential)"),
        arguments: [["-O2"], ["-O2", "-fomit-frame-pointer", "-no-pie"], ["-Os"], ["-O0"]])
    func compiledFunctionsAreFollowedThroughTheirJumps(options: [String]) throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let path = try workshop.compile(Self.functions, to: "derived", options)
        let result = try Self.compare(path)
        #expect(result.wrong.isEmpty, "\(result.wrong.prefix(5))")
        #expect(result.same + result.others > 200)
        #expect(result.none <= 32)
    }

    /// A switch, a loop, tail calls, calls that don't return, a frame of variable size, functions that only pointers name.
    private static let functions = """
        #include <stdio.h>
        #include <stdlib.h>
        #include <string.h>
        volatile int sink;
        __attribute__((noinline)) static void fail(const char *why) { fprintf(stderr, "%s\\n", why); exit(1); }
        __attribute__((noinline)) static int one(int x) { if (x < 0) fail("one"); return x * 3 + sink; }
        __attribute__((noinline)) static int two(int x) { char text[300]; snprintf(text, sizeof text, "%d", x); return text[0] + one(x); }
        static int (*const table[])(int) = { one, two };
        __attribute__((noinline)) int choose(int x) {
            switch (x) {
            case 0: return one(sink);
            case 1: sink = two(1); return two(sink) + 1;
            case 2: sink++; puts("two"); return sink;
            case 3: for (int i = 0; i < sink; i++) one(i); return 1;
            case 4: { char *copy = strdup("x"); sink += copy[0]; free(copy); return 2; }
            case 5: fail("five");
            case 6: return (int)strlen("seven") + one(2);
            case 7: return table[sink & 1](7);
            }
            return one(x);
        }
        __attribute__((noinline)) int variable(int n) { char *room = __builtin_alloca(n); memset(room, n, n); return one(room[n / 2]); }
        __attribute__((noinline)) int tail(int x) { return table[x & 1](x + 1); }
        int main(int count, char **words) {
            for (int i = 0; i < 100; i++) sink += choose(i % 9) + variable(i + 1) + tail(i);
            return sink == 0;
        }
        """

    /// Instructions that change the stack in each way, by what the assembler's own rows say.
    @Test(.enabled(if: Tools.compiler && Tools.binutils, "needs cc and nm (build-essential)"))
    func handwrittenCodeIsFollowed() throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let text = """
            .text
            .globl f
            .type f, @function
            f:
            .cfi_startproc
            pushq $5
            .cfi_adjust_cfa_offset 8
            pushfq
            .cfi_adjust_cfa_offset 8
            push %r12
            .cfi_adjust_cfa_offset 8
            lea -0x200(%rsp), %rsp
            .cfi_adjust_cfa_offset 0x200
            call 1f
            1:
            .cfi_adjust_cfa_offset 8
            pop %rax
            .cfi_adjust_cfa_offset -8
            add $0x180, %rsp
            .cfi_adjust_cfa_offset -0x180
            sub $-128, %rsp
            .cfi_adjust_cfa_offset -128
            pop %r12
            .cfi_adjust_cfa_offset -8
            popfq
            .cfi_adjust_cfa_offset -8
            pop 0x10(%rdi)
            .cfi_adjust_cfa_offset -8
            push 0x10(%rdi)
            .cfi_adjust_cfa_offset 8
            test %edi, %edi
            jz 2f
            push %rbp
            .cfi_adjust_cfa_offset 8
            mov %rsp, %rbp
            .cfi_def_cfa 6, 24
            sub %rdi, %rsp
            and $-64, %rsp
            nop
            leave
            .cfi_def_cfa 7, 16
            2:
            pop %rcx
            .cfi_adjust_cfa_offset -8
            ret
            .cfi_endproc
            .size f, .-f
            """
        let path = try workshop.compile(text + "\n", to: "handwritten", extension: "s", UnwindFixtureTests.bare)
        let truth = try Self.table(of: path, from: .callFrames), derived = try Self.table(of: path, from: .instructions)
        let f = try #require(try listedSymbols(of: path, dynamic: false).first { $0.name == "f" })
        var frames = 0
        for address in f.address..<f.address + f.size {
            let expected = try #require(truth.row(at: address)), row = try #require(derived.row(at: address))
            #expect(row.rule & UInt8(KILN_UNWIND_DERIVED) != 0)
            // Between the move to the frame pointer and the first change that isn't known, both registers tell.
            guard row.rule & ~UInt8(KILN_UNWIND_DERIVED) == expected.rule else { continue }
            frames += expected.rule == UInt8(KILN_UNWIND_FP.rawValue) ? 1 : 0
            #expect(row.offset == expected.offset, "at +\(address - f.address)")
        }
        #expect(frames > 0)
    }

    /// What clears the frame pointer that it should have kept has no caller; where a handler returns to is known by its instructions.
    @Test(.enabled(if: Tools.compiler && Tools.binutils, "needs cc and nm (build-essential)"))
    func beginningsOfThreadsAndReturnsOfSignalsAreKnown() throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let text = """
            .text
            .type starter, @function
            starter: mov $56, %eax
            syscall
            test %eax, %eax
            jnz 1f
            xor %ebp, %ebp
            pop %rdi
            call *%r9
            inside: hlt
            1: ret
            .size starter, .-starter
            .fill 32, 1, 0x90
            .type to_return, @function
            to_return: mov $15, %rax
            syscall
            .size to_return, .-to_return
            .fill 32, 1, 0x90

            """
        let path = try workshop.compile(text, to: "beginnings", extension: "s", UnwindFixtureTests.bare)
        let table = try Self.table(of: path, from: [.callFrames, .instructions])
        let symbols = Dictionary(try listedSymbols(of: path, dynamic: false).map { ($0.name, $0.address) }) { first, _ in first }
        let starter = try #require(symbols["starter"]), inside = try #require(symbols["inside"]), toReturn = try #require(symbols["to_return"])
        #expect(table.rule(at: starter).map { $0.rawValue & ~UInt32(KILN_UNWIND_DERIVED) } == KILN_UNWIND_SP.rawValue)
        #expect(table.rule(at: inside - 1) == KILN_UNWIND_END)
        #expect(table.rule(at: toReturn - 1) == KILN_UNWIND_SIGNAL)
        #expect(table.rule(at: toReturn + 2) == KILN_UNWIND_SIGNAL)
        #expect(table.rule(at: toReturn - 8) != KILN_UNWIND_SIGNAL)
    }

    /// Code that was damaged in many places, so that instructions begin anywhere.
    @Test func damagedCodeIsFollowedWhereItCanBe() throws {
        var damaged = [UInt8](try Data(contentsOf: URL(fileURLWithPath: try firstExisting(["/usr/bin/redis-server"]))))
        var random = SystemRandomNumberGenerator()
        for _ in 0..<20_000 { damaged[Int.random(in: 0x60000..<damaged.count / 2, using: &random)] = UInt8.random(in: 0...255, using: &random) }
        let workshop = try Workshop()
        defer { workshop.remove() }
        let copy = workshop.path("damaged")
        try Data(damaged).write(to: URL(fileURLWithPath: copy))
        #expect(try Self.table(of: copy, from: .instructions).rowCount > 1000)
    }

    /// Code that no compiler writes: many blocks that nothing leads to, a new depth at each instruction, and jumps through tables of thousands of entries.
    @Test(
        arguments: [
            [0x74, 0x06, 0xe8, 0, 0, 0, 0, 0x90, 0xc3, 0xf4, 0xf4, 0xf4, 0xf4, 0xf4, 0xf4, 0xf4], [0x50],
            [0x81, 0xf8, 0xff, 0x0f, 0, 0, 0xff, 0x24, 0xc5, 0, 0, 0, 0],
        ] as [[UInt8]])
    func hostileCodeIsNotFollowedForHours(pattern: [UInt8]) {
        let code = [UInt8]((0..<(4 << 20)).map { pattern[$0 % pattern.count] })
        code.withUnsafeBytes { bytes in
            let rows = DerivedRows(of: bytes, at: 0x1000, functions: [], endless: []) { 0x1000 + $0 % 4096 }
            #expect(rows.rows.first?.address == 0x1000)
        }
    }
}
