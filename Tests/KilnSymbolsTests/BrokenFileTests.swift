import Foundation
import KilnSymbols
import SystemPackage
import TestSupport
import Testing

/// Files that lie. Reading one gives a table or an error; a crash would end a session for everybody.
@Suite(.enabled(if: Tools.compiler, "needs cc (build-essential)"))
struct BrokenFileTests {
    typealias Seeded = SeededGenerator

    static func bytes(_ options: [String]) throws -> [UInt8] {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let path = try workshop.compile(SymbolTableTests.functions, to: "program", options)
        return Array(try Data(contentsOf: URL(fileURLWithPath: path)))
    }

    /// Reads and uses a table. True if there was one.
    static func survives(_ image: [UInt8]) -> Bool {
        guard let table = try? SymbolTable(image: image, named: "damaged") else { return false }
        for address: UInt64 in [0, 0x1000, 0x1139, 0x401136, 0x4010_0000, .max] {
            _ = table.function(at: address)
            _ = table.address(ofFileOffset: address)
        }
        return true
    }

    @Test func bytesFlippedAnywhereGiveATableOrAnError() throws {
        let original = try Self.bytes([])
        var random = Seeded(seed: 4711)
        var tables = 0
        for _ in 0..<3000 {
            var damaged = original
            for _ in 0..<Int.random(in: 1...8, using: &random) {
                damaged[Int.random(in: 0..<damaged.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            if Self.survives(damaged) { tables += 1 }
        }
        #expect(tables > 0)
    }

    @Test func headersAndTablesFilledWithExtremesGiveATableOrAnError() throws {
        let original = try Self.bytes([])
        // Where the section headers, program headers and symbol tables lie, damage hurts most.
        let sectionHeaders = original[40..<48].reversed().reduce(0) { $0 << 8 | Int($1) }
        let places = Array(0..<64) + Array(64..<800) + Array(sectionHeaders..<original.count)
        var random = Seeded(seed: 42)
        var errors = 0
        for _ in 0..<6000 {
            var damaged = original
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                let place = places[Int.random(in: 0..<places.count, using: &random)] & ~7
                let value: UInt8 = [0, 1, 0x7f, 0x80, 0xff][Int.random(in: 0..<5, using: &random)]
                for index in place..<min(place + [1, 4, 8][Int.random(in: 0..<3, using: &random)], damaged.count) {
                    damaged[index] = value
                }
            }
            if !Self.survives(damaged) { errors += 1 }
        }
        #expect(errors > 0)
    }

    @Test func aSmallFileCutAtEveryLengthGivesATableOrAnError() throws {
        let original = try Self.bytes(["-shared", "-fPIC", "-s", "-nostdlib"])
        for length in stride(from: 0, to: original.count, by: 7) {
            _ = Self.survives(Array(original[..<length]))
        }
        #expect(Self.survives(original))
    }

    @Test func aTruncatedFileOnDiskIsAnErrorThatNamesItAndTheDamage() throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let path = try workshop.compile(SymbolTableTests.functions, to: "program")
        let whole = try Data(contentsOf: URL(fileURLWithPath: path))
        try whole.prefix(whole.count / 2).write(to: URL(fileURLWithPath: path))
        let error = #expect(throws: SymbolFileError.self) { try symbolTable(of: path) }
        #expect(error?.file == path)
        guard case .broken = error?.problem else {
            Issue.record("expected a broken file, got \(String(describing: error))")
            return
        }
        #expect(error?.description.contains("readelf") == true)
    }

    @Test(arguments: ["", "#!/bin/sh\n", "!<arch>\n"])
    func aFileOfAnotherFormatIsNotELF(content: String) throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let path = workshop.path("file")
        try content.write(toFile: path, atomically: true, encoding: .utf8)
        let error = #expect(throws: SymbolFileError.self) { try symbolTable(of: path) }
        #expect(error?.problem == .notELF)
    }
}
