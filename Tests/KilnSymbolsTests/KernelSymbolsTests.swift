import Glibc
import KilnSymbols
import SystemPackage
import Testing

@Suite struct KernelSymbolsTests {
    static let example = """
        0000000000000000 A fixed_percpu_data
        ffffffff81000000 T _stext
        ffffffff81000000 t a_local_alias
        ffffffff81000100 T do_syscall_64
        ffffffff81000180 W weak_one
        ffffffff81000180 t one
        ffffffff81000200 t static_function
        ffffffff81000280 D some_data
        ffffffff81000300 T __alias
        ffffffff81000300 T alias
        ffffffffc0002000 t second_in_module\t[nf_tables]
        ffffffffc0001000 T first_in_module\t[nf_tables]
        ffffffffc0003000 b module_data\t[nf_tables]
        ffffffffc0400000 t bpf_prog_0123456789abcdef_probe\t[bpf]

        """

    static func parse(_ text: String) throws -> KernelSymbols { try KernelSymbols(parsing: Array(text.utf8)) }

    @Test func anAddressInsideAFunctionGetsItsNameAndModule() throws {
        let symbols = try Self.parse(Self.example)
        #expect(
            symbols.function(at: 0xffff_ffff_8100_0150)
                == .init(name: "do_syscall_64", module: "[kernel]", start: 0xffff_ffff_8100_0100))
        #expect(
            symbols.function(at: 0xffff_ffff_c000_1fff)
                == .init(name: "first_in_module", module: "[nf_tables]", start: 0xffff_ffff_c000_1000))
        #expect(symbols.function(at: 0xffff_ffff_c040_0010)?.module == "[bpf]")
    }

    @Test func aGlobalAliasBeatsAWeakOneAndAWeakOneALocalThenTheShorterWins() throws {
        let symbols = try Self.parse(Self.example)
        #expect(symbols.function(at: 0xffff_ffff_8100_0000)?.name == "_stext")
        #expect(symbols.function(at: 0xffff_ffff_8100_0180)?.name == "weak_one")
        #expect(symbols.function(at: 0xffff_ffff_8100_0300)?.name == "alias")
    }

    @Test func dataEndsAFunctionAndIsNoFunctionItself() throws {
        let symbols = try Self.parse(Self.example)
        #expect(symbols.function(at: 0xffff_ffff_8100_027f)?.name == "static_function")
        #expect(symbols.function(at: 0xffff_ffff_8100_0280) == nil)
        #expect(symbols.function(at: 0xffff_ffff_c000_3000) == nil)
    }

    @Test func addressesFarBehindAnySymbolBelongToNobody() throws {
        let symbols = try Self.parse(Self.example)
        #expect(symbols.function(at: 0xffff_ffff_9000_0000) == nil)
        #expect(symbols.function(at: 0x1000) == nil)
        #expect(symbols.function(at: .max) == nil)
    }

    @Test func functionsAreCountedOnceHoweverManyAliasesTheyHave() throws {
        #expect(try Self.parse(Self.example).functionCount == 8)
    }

    @Test func hiddenAddressesAreAReasonNotAName() {
        #expect(throws: KernelSymbolsError.addressesHidden) {
            try Self.parse("0000000000000000 T _stext\n0000000000000000 t do_syscall_64\n")
        }
    }

    @Test func aTextWithoutFunctionsSaysSo() {
        #expect(throws: KernelSymbolsError.noFunctions) { try Self.parse("") }
        #expect(throws: KernelSymbolsError.noFunctions) { try Self.parse("ffffffff81000280 D some_data\n") }
    }

    @Test(arguments: ["hello", "ffffffff81000000", "ffffffff81000000 T ", "ffffffff81000000TTname", "\n"])
    func aLineOfAnotherFormatIsNamedByItsNumber(line: String) {
        #expect(throws: KernelSymbolsError.notKallsyms(line: 2)) {
            try Self.parse("ffffffff81000000 T _stext\n" + line + "\n")
        }
    }

    @Test func theLastLineNeedsNoNewline() throws {
        #expect(try Self.parse("ffffffff81000000 T only").function(at: 0xffff_ffff_8100_0001)?.name == "only")
    }

    @Test func aFileThatCannotBeReadBecomesTheReasonOfEachFrame() {
        let kernel = KernelSymbolizer(path: "/proc/no-such-file")
        let symbol = kernel.symbolize(.returnAddress(0xffff_ffff_8100_0001))
        let reason = KernelSymbolsError.unreadable(path: "/proc/no-such-file", .noSuchFileOrDirectory)
        #expect(symbol == .unknown(address: 0xffff_ffff_8100_0001, reason: .kernelSymbols(reason)))
        #expect(symbol.foldedFrame(in: .kernel) == "[unknown]_[k]")
    }

    @Test func codeOfAModuleWithoutAFunctionsNameIsTheModuleAndItsOffset() throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let modules = workshop.path("modules"), symbols = workshop.path("kallsyms")
        try """
        veth 32768 2 - Live 0xffffffffc0a00000
        hidden 32768 0 - Live 0x0000000000000000
        nft_compat 16384 1 x_tables,nf_tables, Live 0xffffffffc0a04000 (E)

        """.write(toFile: modules, atomically: true, encoding: .utf8)
        try "ffffffffc0a00010 t veth_xmit\t[veth]\nffffffffc0a00020 r data\t[veth]\n".write(toFile: symbols, atomically: true, encoding: .utf8)
        let kernel = KernelSymbolizer(path: FilePath(symbols), modules: FilePath(modules))
        func frame(_ address: UInt64) -> String { kernel.symbolize(.instructionPointer(address)).foldedFrame(in: .kernel) }
        #expect(kernel.symbolize(.instructionPointer(0xffff_ffff_c0a0_0018)) == .function(name: "veth_xmit", module: "[veth]", offset: 8))
        #expect(frame(0xffff_ffff_c0a0_0030) == "[veth]+0x30_[k]")
        #expect(frame(0xffff_ffff_c0a0_4001) == "[nft_compat]+0x1_[k]", "the next module ends the one before")
        #expect(frame(0xffff_ffff_c0b0_0000) == "[unknown]_[k]")
        #expect(frame(0x1000) == "[unknown]_[k]")
        let none = KernelSymbolizer(path: FilePath(symbols), modules: "/proc/no-such-file")
        #expect(none.symbolize(.instructionPointer(0xffff_ffff_c0a0_0030)).unnamed?.reason == .noKernelFunction)
    }

    @Test(.enabled(if: Tools.isRoot, "reading kernel addresses needs root"))
    func theRunningKernelsFunctionsAreFoundAtTheirOwnAddresses() throws {
        let lines = try run("grep", ["-E", " [tT] (do_syscall_64|vfs_read|tcp_sendmsg|schedule|el0_svc)$", "/proc/kallsyms"])
        let kernel = KernelSymbolizer()
        var checked = 0
        for line in lines.split(separator: "\n") {
            let fields = line.split(separator: " ")
            let address = try #require(UInt64(fields[0], radix: 16))
            let symbol = kernel.symbolize(.instructionPointer(address + 1))
            #expect(symbol == .function(name: String(fields[2]), module: "[kernel]", offset: 1))
            checked += 1
        }
        #expect(checked >= 3)
    }

    /// Of modules that are loaded: BPF programs come and go, and are looked for in stacks (StackTests).
    static let moduleFunctions: [(address: UInt64, module: String)] = {
        let text = (try? run("grep", ["-E", "^[0-9a-f]{16} [tT] .*\\[[^]]+\\]$", "/proc/kallsyms"])) ?? ""
        return text.split(separator: "\n").compactMap { line in
            let fields = line.split(whereSeparator: \.isWhitespace)
            guard fields.count == 4, fields[3] != "[bpf]", let address = UInt64(fields[0], radix: 16), address > 0 else { return nil }
            return (address, String(fields[3]))
        }
    }()

    @Test(.enabled(if: !moduleFunctions.isEmpty, "naming functions of modules needs root and a kernel with a module loaded"))
    func theRunningKernelsModulesHoldTheirFunctions() throws {
        let kernel = KernelSymbolizer()
        for (address, module) in Self.moduleFunctions.prefix(1000) {
            // Of several names for an address one is kept.
            guard case .function(let name, let found, 0) = kernel.symbolize(.instructionPointer(address)) else {
                Issue.record("\(String(address, radix: 16)) of \(module) has no function")
                continue
            }
            #expect(found == module, "\(name)")
            #expect(kernel.symbolize(.instructionPointer(address)).foldedFrame(in: .kernel) == foldedSafe(name) + "_[k]")
        }
    }
}
