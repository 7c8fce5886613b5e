import CLibdwReference
import Foundation
import KilnBPF
import KilnSymbols
import Testing

/// Small compiled programs, one for each way in which compilers, linkers and people describe a frame.
@Suite(.enabled(if: Tools.compiler && Tools.binutils, "needs cc and nm (build-essential)"))
struct UnwindFixtureTests {
    /// Compiles, compares every row with libdw, and returns the table and where its symbols are.
    static func table(
        of source: String, extension suffix: String = "c", _ options: [String], isDebugFrame: Bool = false,
        _ location: SourceLocation = #_sourceLocation
    ) throws -> (table: UnwindTable, symbols: [String: ListedSymbol], compared: FrameReference.Comparison) {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let path = try workshop.compile(source, to: "fixture", extension: suffix, options)
        let table = try unwindTable(of: path)
        expectSound(table, location)
        let reference = try #require(FrameReference(path, isDebugFrame: isDebugFrame), sourceLocation: location)
        let compared = reference.compare(table)
        #expect(compared.differing.isEmpty, "\(compared.differing)", sourceLocation: location)
        #expect(compared.equal > 0, sourceLocation: location)
        let listed = try listedSymbols(of: path, dynamic: false).map { ($0.name, $0) }
        return (table, Dictionary(listed) { first, _ in first }, compared)
    }

    /// The rules that a function's bytes have.
    static func rules(
        of name: String, _ found: (table: UnwindTable, symbols: [String: ListedSymbol], compared: FrameReference.Comparison)
    ) throws -> Set<UInt32> {
        let symbol = try #require(found.symbols[name])
        return Set((symbol.address..<symbol.address + symbol.size).compactMap { found.table.row(at: $0).map { UInt32($0.rule) } })
    }

    static let frames = """
        #include <alloca.h>
        #include <string.h>
        void use(void *);
        __attribute__((noinline)) int leaf(int x) { return x * 3 + 1; }
        __attribute__((noinline)) int deep(int n) { return n ? deep(n - 1) * 3 + leaf(n) : leaf(n); }
        __attribute__((noinline)) void dynamic(int n) { char *p = alloca(n); memset(p, n, n); use(p); }
        __attribute__((noinline)) void aligned(int n) {
            char wide[64] __attribute__((aligned(64)));
            char *p = alloca(n);
            use(wide);
            use(p);
        }
        void use(void *p) { *(volatile char *)p = 1; }
        int main(int argc, char **argv) { dynamic(argc * 64); aligned(argc * 64); return deep(argc) + (int)strlen(argv[0]); }
        """

    @Test(arguments: [["-O2"], ["-O0"], ["-O2", "-fomit-frame-pointer", "-static"], ["-Os", "-no-pie"], ["-O2", "-shared", "-fPIC"]])
    func leavesRecursionVariableAndRealignedStacksAreDescribed(options: [String]) throws {
        let found = try Self.table(of: Self.frames, options + ["-fcf-protection=none"])
        #expect(try Self.rules(of: "dynamic", found).contains(KILN_UNWIND_FP.rawValue))
        if options.contains("-O2") {
            #expect(try Self.rules(of: "leaf", found) == [KILN_UNWIND_SP.rawValue])
            #expect(try Self.rules(of: "deep", found) == [KILN_UNWIND_SP.rawValue])
            let realigned = [KILN_UNWIND_REGISTER.rawValue, KILN_UNWIND_DEREFERENCE_FP.rawValue]
            #expect(try Self.rules(of: "aligned", found).isSuperset(of: realigned))
        }
        if !options.contains("-shared") {
            #expect(try Self.rules(of: "_start", found).contains(KILN_UNWIND_END.rawValue))
        }
        if options.contains("-static") {
            // glibc's own trampoline, and clone, which has no caller.
            let rows = found.table.rows.map { UInt32($0.rule) }
            #expect(rows.contains(KILN_UNWIND_SIGNAL.rawValue))
        } else {
            #expect(found.table.rows.contains { UInt32($0.rule) == KILN_UNWIND_PLT.rawValue })
        }
        #expect(found.compared.unsupported <= 8)
    }

    static let codeStart = ".text\n.globl code\n.type code, @function\ncode:\n.cfi_startproc\n"
    static let codeEnd = "nop\n.cfi_endproc\n.size code, .-code\n"

    /// Escaped instructions with a byte of code between them, so that each makes a row.
    static func code(_ escapes: [String]) -> String {
        codeStart + escapes.map { "nop\n.cfi_escape \($0)\n" }.joined() + codeEnd
    }

    static let bare = ["-nostdlib", "-shared", "-Wl,-e,0"]

    @Test func everyInstructionDoesWhatItDoesInLibdw() throws {
        let source = Self.code([
            "0x0e, 24",  // def_cfa_offset
            "0x86, 3",  // offset rbp
            "0x0d, 6",  // def_cfa_register rbp
            "0x0a",  // remember_state
            "0x12, 7, 0x7e",  // def_cfa_sf rsp -2 * -8
            "0x13, 0x7c",  // def_cfa_offset_sf
            "0x05, 6, 4",  // offset_extended
            "0x11, 6, 5",  // offset_extended_sf
            "0x2f, 6, 6",  // GNU_negative_offset_extended
            "0xc6",  // restore rbp
            "0x07, 6",  // undefined
            "0x08, 6",  // same_value
            "0x09, 3, 4",  // register: rbx, which is none of a table's
            "0x14, 3, 1",  // val_offset
            "0x15, 3, 0x7f",  // val_offset_sf
            "0x0a, 0x0c, 7, 48, 0x0a, 0x0c, 7, 56, 0x0b",  // nested states
            "0x0b",
            "0x2e, 16",  // GNU_args_size
            "0x0b",
            "0x06, 6",  // restore_extended
            "0x0c, 7, 0x80, 0x80, 2",  // def_cfa rsp 32768
            "0x0c, 7, 0xf8, 0xff, 15",  // 8 less than 256 KiB, 256 KiB, 8 less than 768 KiB
            "0x0c, 7, 0x80, 0x80, 16",
            "0x0c, 7, 0xf8, 0xff, 47",
            "0x10, 6, 2, 0x76, 0",  // expression: rbp at breg6 0
            "0x0f, 3, 0x76, 0x78, 0x06",  // def_cfa_expression: breg6 -8; deref
            "0x0f, 3, 0x77, 24, 0x06",  // breg7 24; deref
            "0x0f, 5, 0x77, 24, 0x06, 0x23, 8",  // breg7 24; deref; plus_uconst 8
            "0x0c, 10, 0",  // def_cfa r10
            "0x0c, 0, 8, 0x86, 3",  // rax + 8
            "0x0f, 11, 0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22",  // the linkage table's
            "0x0c, 7, 8, 0x09, 16, 5",  // register: the return address in rdi
            "0x90, 1",  // offset
            "0x02, 1, 0x03, 2, 0, 0x04, 0, 0, 0, 0",  // advance_loc1, 2, 4
            "0x07, 16",  // undefined return address
            "0x00",
        ])
        // The advances jump ahead of the assembler's own, which has to have bytes left.
        let longer = source.replacing("nop\n.cfi_endproc", with: ".fill 8, 1, 0x90\n.cfi_endproc")
        let found = try Self.table(of: longer, extension: "s", Self.bare)
        #expect(found.compared.unsupported == 0)
        #expect(found.compared.equal > 25)
        #expect(found.table.malformedEntryCount == 0)
        let rules = try Self.rules(of: "code", found)
        #expect(rules.count == 10, "\(rules)")
    }

    @Test(arguments: [
        ("0x16, 6, 2, 0x77, 8", "val_expression of the frame pointer"),
        ("0x09, 6, 0", "the frame pointer in a register"),
        ("0x86, 0", "the frame pointer at the CFA itself, which means 'same' in a row"),
        ("0x2f, 6, 0xff, 0", "the frame pointer at CFA + 1016, a value that means something else"),
        ("0x2f, 6, 0x80, 1", "the frame pointer at CFA + 1024"),
        ("0x0e, 12", "not a whole number of words"),
        ("0x0c, 7, 0x80, 0x80, 48", "a frame of 768 KiB"),
        ("0x0c, 6, 0x80, 0x80, 16", "a frame of 256 KiB by the frame pointer"),
        ("0x0c, 16, 8", "the CFA from the instruction pointer"),
        ("0x0f, 3, 0x73, 0, 0x06", "the CFA behind a register of no special use"),
        ("0x0f, 2, 0x31, 0x31", "an expression of constants"),
        ("0x90, 2", "the return address elsewhere"),
        ("0x10, 16, 2, 0x77, 0", "the return address behind an expression"),
        ("0x87, 3", "the stack pointer on the stack"),
    ])
    func whatARowCannotSayIsAnUnsupportedRow(escape: String, what: String) throws {
        let found = try Self.table(of: Self.code([escape]), extension: "s", Self.bare)
        let code = try #require(found.symbols["code"])
        #expect(found.table.rule(at: code.address) == KILN_UNWIND_SP)
        #expect(found.table.rule(at: code.address + 1) == KILN_UNWIND_UNSUPPORTED, "\(what)")
        #expect(found.table.malformedEntryCount == 0)
    }

    @Test(arguments: ["0x3e", "0x0b", "0x0f, 100, 1", "0x0f, 2, 0x77, 8, 0x0d, 6"])
    func rowsBeforeAMistakeStayAndThoseBehindAreUnsupported(escape: String) throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let path = try workshop.compile(Self.code(["0x0e, 16", escape]), to: "fixture", extension: "s", Self.bare)
        let table = try unwindTable(of: path)
        let code = try #require(try listedSymbols(of: path, dynamic: false).first { $0.name == "code" })
        #expect(table.malformedEntryCount == 1)
        #expect(table.rule(at: code.address) == KILN_UNWIND_SP)
        #expect(table.rule(at: code.address + 2) == KILN_UNWIND_UNSUPPORTED)
    }

    @Test func theKernelsSignalFrameIsRecognised() throws {
        let trampoline = """
            .text
            .globl code
            .type code, @function
            .cfi_startproc
            .cfi_signal_frame
            .cfi_escape 0x0f, 4, 0x77, 0xa0, 1, 0x06
            .cfi_escape 0x10, 6, 3, 0x77, 0xf8, 0
            .cfi_escape 0x10, 7, 3, 0x77, 0xa0, 1
            .cfi_escape 0x10, 16, 3, 0x77, 0xa8, 1
            nop
            code: mov $15, %rax
            syscall
            .cfi_endproc
            .size code, .-code
            """
        let found = try Self.table(of: trampoline, extension: "s", Self.bare)
        #expect(try Self.rules(of: "code", found) == [KILN_UNWIND_SIGNAL.rawValue])
    }

    @Test func codeBetweenFunctionsHasNoRowAndPaddingHasTheOneBefore() throws {
        let source =
            Self.code(["0x0e, 16"]) + ".balign 16\n" + Self.code([]).replacing("code", with: "second")
            + "bare: .fill 32, 1, 0x90\n.size bare, .-bare\n" + Self.code([]).replacing("code", with: "third")
        let found = try Self.table(of: source, extension: "s", Self.bare)
        let (code, bare) = (try #require(found.symbols["code"]), try #require(found.symbols["bare"]))
        #expect(found.table.row(at: code.address + 2)?.offset == 2)
        #expect(found.table.row(at: code.address + 15)?.offset == 2)
        #expect(found.table.rule(at: bare.address) == KILN_UNWIND_NONE)
        #expect(found.table.rule(at: bare.address + 31) == KILN_UNWIND_NONE)
        #expect(found.table.rule(at: bare.address + 32) == KILN_UNWIND_SP)
        #expect(found.table.row(at: found.table.base &- 1) == nil)
        #expect(found.table.row(at: found.table.base + UInt64(found.table.granuleCount) * 256) == nil)
    }
}
