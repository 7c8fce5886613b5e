import Foundation
@testable import KilnSymbols
import SystemPackage
import TestSupport
import Testing

/// .gnu_debugdata, made as rpm makes it.
@Suite(.enabled(if: Tools.compiler && Tools.binutils && Tools.objcopy && Tools.xz, "needs cc, nm, strip, objcopy (build-essential) and xz (xz-utils)"))
struct MiniDebugInfoTests {
    /// Puts a file into the stripped library as its .gnu_debugdata.
    private static func embed(_ content: String, in library: StrippedLibrary) throws {
        try run("objcopy", ["--add-section", ".gnu_debugdata=\(content)", library.inTree(StrippedLibrary.path)])
    }

    /// The names that are not exported, alone and compressed.
    private static func compressedSymbols(of library: StrippedLibrary) throws -> String {
        let mini = library.workshop.path("mini")
        let hidden = library.functions.filter { $0.type == "t" }.map(\.name).joined(separator: "\n") + "\n"
        try hidden.write(toFile: mini + ".keep", atomically: true, encoding: .utf8)
        try run("objcopy", ["-S", "--remove-section=.comment", "--keep-symbols=\(mini).keep", library.debugFile, mini])
        try run("xz", ["-f", mini])
        return mini + ".xz"
    }

    @Test func itsFunctionsAreNamedBesideTheExportedOnes() throws {
        let library = try StrippedLibrary()
        defer { library.remove() }
        try Self.embed(try Self.compressedSymbols(of: library), in: library)
        let table = try library.table()
        #expect(library.isWhole(table))
        #expect(table.problem == nil)
    }

    @Test func itIsReadBehindADebugFileThatIsBroken() throws {
        let library = try StrippedLibrary()
        defer { library.remove() }
        try Self.embed(try Self.compressedSymbols(of: library), in: library)
        // Whole but for the end, where the section headers are.
        let cut = library.workshop.path("cut.debug")
        try run("cp", [library.debugFile, cut])
        #expect(truncate(cut, off_t(try Data(contentsOf: URL(fileURLWithPath: cut)).count - 64)) == 0)
        try library.install(cut, at: library.buildIDPath)
        let table = try library.table()
        #expect(library.isWhole(table))
        #expect(table.problem == nil)
    }

    @Test func whatIsNoXzIsAReason() throws {
        let library = try StrippedLibrary()
        defer { library.remove() }
        let compressed = try Self.compressedSymbols(of: library)
        let sound = try Data(contentsOf: URL(fileURLWithPath: compressed))
        try sound.prefix(sound.count / 2).write(to: URL(fileURLWithPath: compressed))
        try Self.embed(compressed, in: library)
        let table = try library.table()
        #expect(!library.isWhole(table))
        #expect(table.problem?.description.contains(".gnu_debugdata") == true)
        #expect(table.functionCount == 1)
    }

    @Test func damagedBytesGiveAnImageOrAnError() throws {
        let library = try StrippedLibrary()
        defer { library.remove() }
        let sound = Array(try Data(contentsOf: URL(fileURLWithPath: try Self.compressedSymbols(of: library))))
        var random = SeededGenerator(seed: 77)
        var errors = 0
        for _ in 0..<2000 {
            var damaged = sound
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                damaged[Int.random(in: 0..<damaged.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            do {
                let image = try damaged.withUnsafeBytes { try MiniDebugInfo.image($0, in: "damaged") }
                _ = try? SymbolTable(image: image, named: "damaged")
            } catch {
                errors += 1
            }
        }
        #expect(errors > 1000)
    }

    @Test func aBombIsRefused() throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let zeros = workshop.path("zeros")
        try Data().write(to: URL(fileURLWithPath: zeros))
        #expect(truncate(zeros, MiniDebugInfo.largestImage + 4096) == 0)
        try run("xz", ["-0", zeros])
        let bomb = Array(try Data(contentsOf: URL(fileURLWithPath: zeros + ".xz")))
        #expect(bomb.count < 100_000)
        let error = #expect(throws: SymbolFileError.self) { try bomb.withUnsafeBytes { try MiniDebugInfo.image($0, in: "bomb") } }
        #expect(error?.description.contains("larger than 128 MiB") == true)
    }
}
