import Foundation
import KilnBPF
import KilnSymbols
import Testing

/// Where call frame information may lie in a file, and the forms that entries may have.
@Suite(.enabled(if: Tools.compiler && Tools.binutils, "needs cc and nm (build-essential)"))
struct UnwindSectionTests {
    static let functions = """
        int leaf(int x) { return x * 3 + 1; }
        __attribute__((noinline)) int deep(int n) {
            volatile int kept[8];
            kept[n & 7] = n;
            return n ? deep(n - 1) * 3 + kept[n & 3] : leaf(n);
        }
        """
    static let debugOnly = ["-g", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables", "-O2", "-fPIC"] + UnwindFixtureTests.bare

    @Test(arguments: [[], ["-gz=zlib"], ["-gz=zlib-gnu"]])
    func whereThereIsOnlyDebugFrameItIsUsed(compression: [String]) throws {
        let found = try UnwindFixtureTests.table(of: Self.functions, Self.debugOnly + compression, isDebugFrame: true)
        #expect(try UnwindFixtureTests.rules(of: "deep", found) == [KILN_UNWIND_SP.rawValue])
    }

    @Test func debugFrameFillsWhatTheLoadedSectionLeaves() throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        // The start-up code and the linkage table have .eh_frame; the program's own functions have not.
        let source = Self.functions + "int main(int argc, char **argv) { return deep(argc); }\n"
        let path = try workshop.compile(source, to: "program", ["-g", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables", "-O1"])
        let table = try unwindTable(of: path)
        expectSound(table)
        for symbol in try listedSymbols(of: path, dynamic: false) where ["deep", "_start", "main"].contains(symbol.name) {
            let expected = symbol.name == "_start" ? KILN_UNWIND_END : KILN_UNWIND_SP
            #expect(table.rule(at: symbol.address + 4) == expected, "\(symbol.name)")
        }
    }

    @Test func aFileWithoutSectionHeadersHasTheSameTable() throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let path = try workshop.compile(UnwindFixtureTests.frames, to: "program")
        var bytes = Array(try Data(contentsOf: URL(fileURLWithPath: path)))
        let whole = try UnwindTable(image: bytes, named: "whole")
        // e_shoff, and e_shentsize, e_shnum, e_shstrndx
        for index in Array(40..<48) + Array(58..<64) { bytes[index] = 0 }
        let bare = try UnwindTable(image: bytes, named: "without section headers")
        #expect(bare.base == whole.base)
        #expect(bare.cells == whole.cells)
    }

    /// What begins at the entry point has no caller, whatever its call frame information says (Zig's says nothing of it), or if it has none.
    @Test(arguments: [(true, ["-static"]), (false, ["-static"]), (true, ["-static-pie"]), (false, ["-pie"])])
    func aProgramsEntryIsTheOutermostFrame(hasInformation: Bool, kind: [String]) throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let source = """
            .text
            .globl _start, work
            .cfi_startproc
            before: nop
            ret
            .cfi_endproc
            .balign 32
            _start:
            \(hasInformation ? ".cfi_startproc" : "")
            xor %ebp, %ebp
            call work
            hlt
            \(hasInformation ? ".cfi_endproc" : "")
            .balign 32
            work:
            .cfi_startproc
            jmp work
            .cfi_endproc
            .section .note.GNU-stack, "", @progbits
            """
        let path = try workshop.compile(source, to: "program", extension: "s", ["-nostdlib"] + kind)
        let table = try unwindTable(of: path)
        expectSound(table)
        let symbols = Dictionary(try listedSymbols(of: path, dynamic: false).map { ($0.name, $0.address) }) { first, _ in first }
        let start = try #require(symbols["_start"]), work = try #require(symbols["work"])
        #expect(table.rule(at: try #require(symbols["before"])) == KILN_UNWIND_SP)
        for distance in UInt64(0)..<8 { #expect(table.rule(at: start + distance) == KILN_UNWIND_END, "+\(distance)") }
        #expect(table.rule(at: work) == KILN_UNWIND_SP)
    }

    @Test func aLibrarysEntryIsAFunctionAsAnyOther() throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let path = try workshop.compile("int first(int x) { return x; }", to: "some.so", ["-nostdlib", "-shared", "-Wl,-e,first"])
        let address = try #require(try listedSymbols(of: path, dynamic: false).first { $0.name == "first" }).address
        #expect(try unwindTable(of: path).rule(at: address) == KILN_UNWIND_SP)
    }

    @Test func aProgramWithoutCallFrameInformationHasItsEntry() throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let source = ".text\n.globl _start\n_start: call work\nhlt\n.balign 128\nwork: jmp work\n.section .note.GNU-stack, \"\", @progbits\n"
        let path = try workshop.compile(source, to: "program", extension: "s", ["-nostdlib", "-static"])
        let table = try unwindTable(of: path)
        expectSound(table)
        let start = try #require(try listedSymbols(of: path, dynamic: false).first { $0.name == "_start" }).address
        #expect(table.rule(at: start + 5) == KILN_UNWIND_END)
        #expect(table.rule(at: start + 128) != KILN_UNWIND_END)
    }

    @Test func aFileWithoutCallFrameInformationHasAnEmptyTable() throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let options = ["-fno-asynchronous-unwind-tables", "-fno-unwind-tables"] + UnwindFixtureTests.bare
        let table = try unwindTable(of: try workshop.compile("int lonely(int x) { return x; }", to: "bare.so", options))
        #expect(table.granuleCount == 0)
        #expect(table.rowCount == 0)
        #expect(table.cells == [0])
        #expect(table.row(at: table.base) == nil)
    }

    /// A program whose .eh_frame is written by hand: 64 bytes of code for each entry.
    static func handWritten(_ entries: [(common: String, function: String)], between: String = "") -> String {
        var text = ".text\n.globl code\n.type code, @function\ncode:\n"
        var section = ".section .eh_frame, \"a\", @progbits\n"
        for (number, entry) in entries.enumerated() {
            text += "f\(number): .fill 64, 1, 0x90\n"
            section += """
                c\(number): .long ce\(number) - . - 4
                .long 0
                \(entry.common)
                .byte 0x0c, 7, 8, 0x90, 1
                .balign 8
                ce\(number):
                d\(number): .long de\(number) - . - 4
                .long . - c\(number)
                \(entry.function.replacing("START", with: "f\(number)"))
                .byte 0x41, 0x0e, 16
                .balign 8
                de\(number):
                \(between)

                """
        }
        return text + ".size code, .-code\n.globl _start\n_start: nop\n" + section + ".section .note.GNU-stack, \"\", @progbits\n"
    }

    /// The linker leaves the section alone with these.
    static let untouched = ["-nostdlib", "-static", "-no-pie", "-Wl,--no-eh-frame-hdr", "-Wl,--traditional-format"]

    /// Version, augmentation string, factors 1 and -8, return address 16, augmentation data.
    static func common(_ augmentation: String, _ augmentationData: String = "", version: Int = 1) -> String {
        ".byte \(version)\n.asciz \"\(augmentation)\"\n" + (version == 4 ? ".byte 8, 0\n" : "") + ".byte 1, 0x78, 16\n" + augmentationData
    }

    @Test func pointersOfEveryEncodingAreRead() throws {
        let entries: [(common: String, function: String)] = [
            (Self.common(""), ".quad START, 64"),
            (Self.common("", version: 3), ".quad START, 64"),
            (Self.common("", version: 4), ".quad START, 64"),
            (Self.common("zR", ".byte 1, 0x00\n"), ".quad START, 64\n.byte 0"),
            (Self.common("zR", ".byte 1, 0x03\n"), ".long START, 64\n.byte 0"),
            (Self.common("zR", ".byte 1, 0x0b\n"), ".long START, 64\n.byte 0"),
            (Self.common("zR", ".byte 1, 0x0c\n"), ".quad START, 64\n.byte 0"),
            (Self.common("zR", ".byte 1, 0x1b\n"), ".long START - .\n.long 64\n.byte 0"),
            (Self.common("zR", ".byte 1, 0x1c\n"), ".quad START - .\n.quad 64\n.byte 0"),
            (Self.common("zRS", ".byte 1, 0x1b\n"), ".long START - .\n.long 64\n.byte 0"),
            // A personality behind an indirect pointer, and exception tables. (`.byte 4` and `.long` would be taken for an
            // advance of the location by the assembler, and shortened.)
            (Self.common("zPLR", ".byte 7, 0x9b\n.long code - .\n.byte 0x1b, 0x1b\n"), ".long START - .\n.long 64\n.byte 4, 0, 0, 0, 0"),
            (Self.common("zPR", ".byte 6, 0x03\n.long 5\n.byte 0x1b\n"), ".long START - .\n.long 64\n.byte 0"),
            (Self.common("zR", ".byte 1, 0x1b\n"), ".long START - .\n.long 64\n.byte 3, 1, 2, 3"),
            // Words at the next word boundary: the function's follows at once, the personality's after padding.
            (Self.common("zR", ".byte 1, 0x50\n"), ".quad START, 64\n.byte 0"),
            (Self.common("zPR", ".byte 2f - 1f\n1: .byte 0x50\n.balign 8\n.quad 5\n.byte 0x1b\n2:\n"), ".long START - .\n.long 64\n.byte 0"),
        ]
        let found = try UnwindFixtureTests.table(of: Self.handWritten(entries), extension: "s", Self.untouched)
        let code = try #require(found.symbols["code"])
        #expect(found.table.malformedEntryCount == 0)
        for number in entries.indices {
            let start = code.address + UInt64(number) * 64
            #expect(found.table.row(at: start)?.offset == 1, "entry \(number)")
            #expect(found.table.row(at: start + 1)?.offset == 2, "entry \(number)")
            #expect(found.table.row(at: start + 63)?.offset == 2, "entry \(number)")
        }
    }

    @Test func anEncodingThroughAWordOfTheFileIsFollowed() throws {
        // libdw refuses it, and no compiler writes it, but the standard has it.
        let entry = (Self.common("zR", ".byte 1, 0x83\n"), ".long word, 64\n.byte 0")
        let source = Self.handWritten([entry]) + ".section .rodata\n.balign 8\nword: .quad code\n"
        let workshop = try Workshop()
        defer { workshop.remove() }
        let path = try workshop.compile(source, to: "indirect", extension: "s", Self.untouched)
        let code = try #require(try listedSymbols(of: path, dynamic: false).first { $0.name == "code" })
        let table = try unwindTable(of: path)
        #expect(table.row(at: code.address)?.offset == 1)
        #expect(table.row(at: code.address + 1)?.offset == 2)
    }

    @Test func anEmptyEntryInTheMiddleIsNotTheEnd() throws {
        let entry = (common: Self.common("zR", ".byte 1, 0x1b\n"), function: ".long START - .\n.long 64\n.byte 0")
        let workshop = try Workshop()
        defer { workshop.remove() }
        let source = Self.handWritten([entry, entry, entry], between: ".long 0\n.balign 8")
        let path = try workshop.compile(source, to: "terminated", extension: "s", Self.untouched)
        let table = try unwindTable(of: path)
        let code = try #require(try listedSymbols(of: path, dynamic: false).first { $0.name == "code" })
        for number in UInt64(0)..<3 { #expect(table.row(at: code.address + number * 64 + 5)?.offset == 2) }
    }

    @Test func anUnknownAugmentationMakesItsCodeUnsupported() throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let entries: [(common: String, function: String)] = [
            (Self.common("x"), ".quad START, 64"), (Self.common("zRx", ".byte 1, 0x1b\n"), ".long START - .\n.long 64\n.byte 0"),
        ]
        let path = try workshop.compile(Self.handWritten(entries), to: "unknown", extension: "s", Self.untouched)
        let table = try unwindTable(of: path)
        let code = try #require(try listedSymbols(of: path, dynamic: false).first { $0.name == "code" })
        #expect(table.malformedEntryCount == 2)
        for offset: UInt64 in [0, 63, 64, 127] { #expect(table.rule(at: code.address + offset) == KILN_UNWIND_UNSUPPORTED) }
    }

    @Test func anEntryThatRunsBeyondItsSectionIsAnErrorThatSaysWhere() throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let entry = (common: Self.common(""), function: ".quad START, 64")
        let source = Self.handWritten([entry]) + ".section .eh_frame\n.long 4096, 0\n"
        let path = try workshop.compile(source, to: "overrun", extension: "s", Self.untouched)
        let error = #expect(throws: SymbolFileError.self) { try unwindTable(of: path) }
        #expect(error?.content == .callFrameInformation)
        #expect(error?.description.contains("of .eh_frame runs beyond the section's end") == true, "\(String(describing: error))")
    }

    @Test func codeWiderThanFourGibibytesIsAnErrorThatSaysSo() throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let entry = (common: Self.common(""), function: ".quad START, 64")
        let far = (common: Self.common(""), function: ".quad far, 64")
        let source = Self.handWritten([entry, far]) + ".section .far, \"ax\", @progbits\nfar: .fill 64, 1, 0x90\n"
        let path = try workshop.compile(
            source, to: "wide", extension: "s", Self.untouched + ["-Wl,--section-start=.far=0x300000000"])
        let error = #expect(throws: SymbolFileError.self) { try unwindTable(of: path) }
        #expect(error?.description.contains("4 GiB") == true, "\(String(describing: error))")
    }

    @Test func anotherArchitectureIsAnError() throws {
        var bytes = try BrokenFileTests.bytes([])
        bytes[18] = 183  // EM_AARCH64
        let error = #expect(throws: SymbolFileError.self) { try UnwindTable(image: bytes, named: "foreign") }
        guard case .unsupported? = error?.problem else {
            Issue.record("\(String(describing: error))")
            return
        }
    }
}
