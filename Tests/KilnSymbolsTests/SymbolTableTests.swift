import Foundation
import KilnSymbols
import SystemPackage
import Testing

/// Tables of files compiled here and now, against what nm says of them.
@Suite(.enabled(if: Tools.compiler && Tools.binutils, "needs cc, nm and strip (build-essential)"))
struct SymbolTableTests {
    static let functions = """
        #include <stdio.h>
        #define KEPT __attribute__((noinline, used))
        KEPT static int hidden(int x) { return x * 3 + 1; }
        KEPT int exported(int x) { return hidden(x) + 2; }
        KEPT int weak_name(int) __attribute__((weak, alias("exported")));
        KEPT static int local_name(int) __attribute__((alias("exported")));
        int a_variable = 3;
        int main(void) { printf("%d", exported(a_variable)); return 0; }
        """

    /// Checks each function that nm lists, at its first and last byte.
    static func check(_ path: String, against listed: [ListedSymbol], sourceLocation: SourceLocation = #_sourceLocation) throws -> Int {
        let table = try symbolTable(of: path)
        let sized = listed.filter { $0.isFunction && $0.size > 0 }
        // Symbols by the 4 KiB pages they touch, so that the reference need not look at all of them each time.
        var onPage: [UInt64: [ListedSymbol]] = [:]
        for symbol in sized {
            for page in symbol.address >> 12...(symbol.address + symbol.size - 1) >> 12 { onPage[page, default: []].append(symbol) }
        }
        for symbol in sized {
            for address in [symbol.address, symbol.address + symbol.size / 2, symbol.address + symbol.size - 1, symbol.address + symbol.size] {
                let covering = (onPage[address >> 12] ?? []).filter { $0.covers(address) }
                let match = table.function(at: address)
                if let innermost = covering.map(\.address).max() {
                    #expect(match?.start == innermost, "\(symbol.name) at \(address)", sourceLocation: sourceLocation)
                    let names = covering.filter { $0.address == innermost }.map(\.name)
                    #expect(names.contains(match?.name ?? ""), "\(symbol.name) at \(address)", sourceLocation: sourceLocation)
                } else if let match, !match.name.hasSuffix("@plt") {
                    // Only a symbol without a size may reach here.
                    let unsized = listed.contains { $0.size == 0 && $0.address == match.start && $0.name == match.name }
                    #expect(unsized, "\(match.name) given to \(address)", sourceLocation: sourceLocation)
                }
            }
        }
        return sized.count
    }

    @Test(arguments: [["-pie", "-fPIE"], ["-no-pie"], ["-shared", "-fPIC"], ["-static"], ["-pie", "-fPIE", "-Wl,-z,noseparate-code"]])
    func everyFunctionOfEveryKindOfFileIsFound(options: [String]) throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let path = try workshop.compile(Self.functions, to: "program", options)
        let listed = try listedSymbols(of: path, dynamic: false)
        #expect(try Self.check(path, against: listed) >= 3)
        let table = try symbolTable(of: path)
        let hidden = try #require(listed.first { $0.name == "hidden" })
        #expect(table.function(at: hidden.address) == .init(name: "hidden", start: hidden.address))
        #expect(!table.hasOnlyDynamicSymbols)
    }

    @Test func thePreferredAliasIsTheGlobalOne() throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let path = try workshop.compile(Self.functions, to: "program")
        let exported = try #require(try listedSymbols(of: path, dynamic: false).first { $0.name == "weak_name" })
        #expect(try symbolTable(of: path).function(at: exported.address)?.name == "exported")
    }

    @Test func dataIsNotAFunction() throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let path = try workshop.compile(Self.functions, to: "program")
        let variable = try #require(try listedSymbols(of: path, dynamic: false).first { $0.name == "a_variable" })
        #expect(try symbolTable(of: path).function(at: variable.address) == nil)
    }

    @Test func aStrippedLibraryNamesItsExportsAndNotItsStatics() throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let path = try workshop.compile(Self.functions, to: "library.so", ["-shared", "-fPIC"])
        let listed = try listedSymbols(of: path, dynamic: false)
        try run("strip", [path])
        let table = try symbolTable(of: path)
        let exported = try #require(listed.first { $0.name == "exported" })
        let hidden = try #require(listed.first { $0.name == "hidden" })
        #expect(table.hasOnlyDynamicSymbols)
        #expect(table.function(at: exported.address)?.name == "exported")
        #expect(table.function(at: hidden.address) == nil)
        #expect(table.function(at: exported.address + exported.size - 1)?.name == "exported")
    }

    @Test func aFullyStrippedProgramHasNoFunctionsAndIsNoError() throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let path = try workshop.compile("int main(void) { return 0; }", to: "program", ["-static", "-s"])
        #expect(try symbolTable(of: path).functionCount == 0)
    }

    @Test(.enabled(if: isX86, "decodes x86-64 linkage tables only"), arguments: [["-Wl,-z,lazy"], ["-Wl,-z,now"], ["-fcf-protection=full", "-Wl,-z,ibtplt"]])
    func aLinkageStubHasTheNameOfTheFunctionItJumpsTo(options: [String]) throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let path = try workshop.compile(Self.functions, to: "program", options)
        let table = try symbolTable(of: path)
        let stub = try #require(try run("objdump", ["-d", path]).split(separator: "\n").first { $0.hasSuffix("<printf@plt>:") })
        let address = try #require(UInt64(stub.prefix { $0 != " " }, radix: 16))
        #expect(table.function(at: address + 4) == .init(name: "printf@plt", start: address))
    }

    static let assembly = """
        .text
        .globl sized, unsized, untyped_global, last_one
        .type sized, @function
        sized: .skip 32, 0x90
        inside: .skip 32, 0x90
        .size sized, . - sized
        .skip 32, 0x90
        .type unsized, @function
        unsized: .skip 64, 0x90
        untyped_global: .skip 64, 0x90
        .type last_one, @function
        last_one: .skip 64, 0x90
        .section .text.other, "ax", @progbits
        .skip 64, 0x90
        .section .note.GNU-stack, "", @progbits
        """

    @Test func aSymbolWithoutASizeReachesUpToTheNextOneAndNotIntoTheNextSection() throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let path = try workshop.compile(
            Self.assembly, to: "library.so", extension: "s",
            ["-shared", "-nostdlib", "-Wl,--unique=.text.other"])
        let table = try symbolTable(of: path)
        let address = Dictionary(
            try listedSymbols(of: path, dynamic: false).map { ($0.name, $0.address) }, uniquingKeysWith: { one, _ in one })
        let sized = try #require(address["sized"])
        let last = try #require(address["last_one"])
        #expect(table.function(at: sized + 40)?.name == "sized", "a label inside a sized function does not cut it")
        #expect(table.function(at: sized + 64) == nil, "behind the size of a sized function")
        #expect(table.function(at: sized + 96)?.name == "unsized")
        #expect(table.function(at: sized + 96 + 63)?.name == "unsized")
        #expect(table.function(at: sized + 96 + 64)?.name == "untyped_global")
        #expect(table.function(at: last + 63)?.name == "last_one")
        #expect(table.function(at: last + 64) == nil, "the next section")
    }

    @Test func withoutAFullTableASymbolWithoutASizeNamesNothing() throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let path = try workshop.compile(Self.assembly, to: "library.so", extension: "s", ["-shared", "-nostdlib"])
        let unsized = try #require(try listedSymbols(of: path, dynamic: false).first { $0.name == "unsized" })
        try run("strip", [path])
        #expect(try symbolTable(of: path).function(at: unsized.address) == nil)
    }

    @Test func aFileOffsetBecomesTheAddressThatNmPrints() throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        for options in [["-pie", "-fPIE"], ["-no-pie"]] {
            let path = try workshop.compile(Self.functions, to: "program", options)
            let table = try symbolTable(of: path)
            let hidden = try #require(try listedSymbols(of: path, dynamic: false).first { $0.name == "hidden" })
            let text = try #require(
                try run("readelf", ["-SW", path]).split(separator: "\n").first { $0.contains(" .text ") })
            let fields = text.split(separator: "]")[1].split(separator: " ")
            let (section, offset) = (UInt64(fields[2], radix: 16) ?? 0, UInt64(fields[3], radix: 16) ?? 0)
            #expect(table.address(ofFileOffset: hidden.address - section + offset) == hidden.address)
            #expect(table.address(ofFileOffset: 1 << 40) == nil)
        }
    }

    /// Whichever of these are here.
    static let installed = [
        "/lib/x86_64-linux-gnu/libc.so.6", "/lib/aarch64-linux-gnu/libc.so.6", "/usr/bin/redis-server", "/usr/bin/bash",
    ].filter { FileManager.default.fileExists(atPath: $0) }

    @Test(arguments: installed)
    func installedFilesAgreeWithNmOnEveryDynamicFunction(path: String) throws {
        #expect(try Self.check(path, against: listedSymbols(of: path, dynamic: true)) > 500)
    }
}

#if arch(x86_64)
let isX86 = true
#else
let isX86 = false
#endif
