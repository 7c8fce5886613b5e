import Foundation
@testable import KilnSymbols
import TestSupport
import Testing

/// Debugging information that compilers write into files of its own, against the same program with all in one.
@Suite(.enabled(if: Tools.compiler && Tools.binutils, "needs cc and nm (build-essential)"))
struct SplitFileTests {
    struct Case: CustomTestStringConvertible {
        let compiler: String
        let version: Int
        /// The program that makes a package of the `.dwo` files; nil: they stay as they are.
        let packer: String?

        var testDescription: String { "\(compiler), DWARF \(version), \(packer ?? ".dwo")" }
    }

    /// binutils' dwp (2.40) packs units of DWARF 4 only, and LLVM's (14 to 19) none of DWARF 5 from gcc.
    private static let cases: [Case] = [
        Case(compiler: "gcc", version: 4, packer: nil), Case(compiler: "gcc", version: 5, packer: nil),
        Case(compiler: "gcc", version: 4, packer: "dwp"), Case(compiler: "gcc", version: 4, packer: "llvm-dwp"),
        Case(compiler: "clang", version: 4, packer: nil), Case(compiler: "clang", version: 5, packer: nil),
        Case(compiler: "clang", version: 4, packer: "dwp"), Case(compiler: "clang", version: 4, packer: "llvm-dwp"),
        Case(compiler: "clang", version: 5, packer: "llvm-dwp"),
    ]

    private static let other = InlinedFunctionTests.chain.replacing("physical", with: "second").replacing("other", with: "third")
        .replacing("volatile int sink", with: "extern volatile int sink").replacing("innermost", with: "deepest")

    /// Two units, in the workshop's folder; `split` adds what divides them.
    private static func build(_ workshop: Workshop, _ name: String, _ one: Case, split: [String]) throws -> String {
        for (file, source) in [("one", InlinedFunctionTests.chain), ("two", other)] {
            try source.write(toFile: workshop.path(file + ".c"), atomically: true, encoding: .utf8)
        }
        let objects = try ["one", "two"].map { file in
            let object = workshop.path("\(name)-\(file).o")
            try run(one.compiler, ["-O2", "-g", "-gdwarf-\(one.version)", "-fPIC", "-c", "-o", object, workshop.path(file + ".c")] + split)
            return object
        }
        try run("cc", ["-shared", "-nostdlib", "-o", workshop.path(name)] + objects)
        return workshop.path(name)
    }

    private static func chains(_ path: String, _ functions: [ListedSymbol]) throws -> [[String]] {
        let inlined = try #require(try InlinedFunctionTests.inlined(path))
        return functions.flatMap { function in (function.address..<function.address + function.size).map { inlined.names(at: $0) } }
    }

    @Test(arguments: cases) func theSameFunctionsAreInlinedAsInOneFile(_ one: Case) throws {
        if !Tools.has(one.compiler) { try skipCase("there is no \(one.compiler)") }
        if let packer = one.packer, !Tools.has(packer) { try skipCase("there is no \(packer)") }
        let workshop = try Workshop()
        defer { workshop.remove() }
        let whole = try Self.build(workshop, "whole.so", one, split: [])
        let path = try Self.build(workshop, "split.so", one, split: ["-gsplit-dwarf"])
        let functions = try listedSymbols(of: whole, dynamic: false).filter { $0.isFunction && $0.size > 0 }
        #expect(try listedSymbols(of: path, dynamic: false).filter { $0.isFunction && $0.size > 0 }.map(\.address) == functions.map(\.address))
        let expected = try Self.chains(whole, functions)
        #expect(Set(expected).isSuperset(of: [["outermost", "middle", "innermost"], ["outermost", "middle", "deepest"]]))
        let parts = try FileManager.default.contentsOfDirectory(atPath: workshop.directory).filter { $0.hasSuffix(".dwo") }.map(workshop.path)
        #expect(parts.count == 2)
        if let packer = one.packer {
            try run(packer, ["-o", path + ".dwp"] + parts)
            for part in parts { try FileManager.default.removeItem(atPath: part) }
        }
        #expect(try Self.chains(path, functions) == expected)
        // Copied together to another place.
        let moved = workshop.path("moved")
        try FileManager.default.createDirectory(atPath: moved, withIntermediateDirectories: true)
        let files = try FileManager.default.contentsOfDirectory(atPath: workshop.directory).filter {
            $0.hasSuffix(".dwo") || $0.hasPrefix("split.so") && !$0.hasSuffix(".o")
        }
        for file in files { try FileManager.default.moveItem(atPath: workshop.path(file), toPath: moved + "/" + file) }
        #expect(try Self.chains(moved + "/split.so", functions) == expected)
    }

    @Test func filesOfAnotherBuildAreNotUsed() throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let gcc = Case(compiler: "cc", version: 5, packer: nil)
        let path = try Self.build(workshop, "split.so", gcc, split: ["-gsplit-dwarf"])
        let functions = try listedSymbols(of: path, dynamic: false).filter { $0.isFunction && $0.size > 0 }
        #expect(try Self.chains(path, functions).contains(["outermost", "middle", "deepest"]))
        let parts = ["one", "two"].map { workshop.path("split.so-\($0).dwo") }
        try FileManager.default.removeItem(atPath: parts[1])
        try FileManager.default.copyItem(atPath: parts[0], toPath: parts[1])
        let chains = try Self.chains(path, functions)
        #expect(chains.contains(["outermost", "middle", "innermost"]) && !chains.contains { $0.last == "deepest" })
    }

    @Test(arguments: [nil, "dwp"]) func damagedFilesGiveNamesOrNone(_ packer: String?) throws {
        if let packer, !Tools.has(packer) { try skipCase("there is no \(packer)") }
        let workshop = try Workshop()
        defer { workshop.remove() }
        let path = try Self.build(workshop, "split.so", Case(compiler: "cc", version: packer == nil ? 5 : 4, packer: packer), split: ["-gsplit-dwarf"])
        let functions = try listedSymbols(of: path, dynamic: false).filter { $0.isFunction && $0.size > 0 }
        var part = workshop.path("split.so-one.dwo")
        if let packer {
            try run(packer, ["-o", path + ".dwp", part, workshop.path("split.so-two.dwo")])
            for file in ["one", "two"] { try FileManager.default.removeItem(atPath: workshop.path("split.so-\(file).dwo")) }
            part = path + ".dwp"
        }
        let sound = try Data(contentsOf: URL(fileURLWithPath: part))
        var random = SeededGenerator(seed: 2024)
        var (named, nameless) = (0, 0)
        for _ in 0..<1500 {
            var damaged = sound
            for _ in 0..<Int.random(in: 1...8, using: &random) {
                damaged[Int.random(in: 0..<damaged.count, using: &random)] =
                    [0, 0x7f, 0xff, UInt8.random(in: 0...255, using: &random)][Int.random(in: 0..<4, using: &random)]
            }
            try damaged.write(to: URL(fileURLWithPath: part))
            let inlined = try #require(try InlinedFunctionTests.inlined(path))
            let names = functions.flatMap { function in
                stride(from: function.address, to: function.address + function.size, by: 8).flatMap { inlined.names(at: $0) }
            }
            if names.contains("innermost") { named += 1 } else { nameless += 1 }
        }
        #expect(named > 0 && nameless > 0)
    }
}
