import Foundation
@testable import KilnSymbols
import SystemPackage
import Testing

/// Files, lines and inlined functions from the tables of a stripped Go program, against the debugging information of the same program before.
@Suite(.enabled(if: Tools.go, "needs go (golang-go)")) struct GoSourceTests {
    private static func source(of path: String) throws -> GoSource? {
        let file = try OpenFile(at: FileDescriptor(rawValue: AT_FDCWD), path)
        return GoSource(of: try ElfFile(reading: file.descriptor, named: path))
    }

    @Test(arguments: [[], ["-buildmode=pie"]]) func aStrippedProgramHasWhatDebuggingInformationSays(options: [String]) throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let whole = try GoFunctionTableTests.compile(workshop, to: "program", options)
        let stripped = try GoFunctionTableTests.compile(workshop, to: "stripped", options + ["-ldflags=-s -w"])
        let debug = try #require(try InlinedFunctionTests.inlined(whole)), go = try #require(try Self.source(of: stripped))
        var names = 0, places = 0, inlined = 0, addresses = 0
        let functions = try listedSymbols(of: whole, dynamic: false).filter {
            $0.isFunction && ["fmt.", "strconv.", "sort.", "main."].contains(where: $0.name.hasPrefix)
        }
        for function in functions {
            for address in stride(from: function.address, to: function.address + function.size, by: 8) {
                guard let expected = debug.frames(at: address), let found = go.frames(at: address) else { continue }
                addresses += 1
                if found.inlined == expected.inlined { names += 1 }
                if found.places.last == expected.places.last { places += 1 }
                if !found.inlined.isEmpty { inlined += 1 }
                #expect(found.places.count == found.inlined.count + 1)
            }
        }
        #expect(addresses > 5000 && inlined > addresses / 20)
        #expect(names >= addresses * 99 / 100, "\(names) of \(addresses)")
        #expect(places >= addresses * 99 / 100, "\(places) of \(addresses)")
    }

    @Test func otherProgramsHaveNone() throws { #expect(try Self.source(of: "/bin/sh") == nil) }

    @Test func damagedTablesGiveFramesOrNone() throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let path = try GoFunctionTableTests.compile(workshop, to: "stripped", ["-ldflags=-s -w"])
        let original = Array(try Data(contentsOf: URL(fileURLWithPath: path)))
        let lines = try run("readelf", ["-SW", path]).split(separator: "\n")
        func section(_ name: String) throws -> (address: UInt64, bytes: Range<Int>) {
            let fields = try #require(lines.first { $0.contains(" \(name) ") }).split(separator: "]")[1].split(separator: " ")
            let (offset, size) = (try #require(Int(fields[3], radix: 16)), try #require(Int(fields[4], radix: 16)))
            return (try #require(UInt64(fields[2], radix: 16)), offset..<offset + size)
        }
        let table = try section(".gopclntab").bytes, constants = try section(".rodata").bytes, text = try section(".text")
        var random = BrokenFileTests.Seeded(seed: 2012), found = 0
        for number in 0..<40 {
            var damaged = original
            for _ in 0..<(number % 2 == 0 ? 2 : 2000) {
                let place =
                    number % 2 == 0
                    ? table.prefix(72).randomElement(using: &random) : (Bool.random(using: &random) ? table : constants).randomElement(using: &random)
                damaged[try #require(place)] = [0, 1, 0x7f, 0x80, 0xff][Int.random(in: 0..<5, using: &random)]
            }
            let source = GoSource(of: try ElfFile(image: damaged, named: "damaged"))
            for _ in 0..<2000 {
                let address = text.address + UInt64.random(in: 0..<UInt64(text.bytes.count), using: &random)
                if let frames = source?.frames(at: address), frames.places.count == frames.inlined.count + 1 { found += 1 }
            }
        }
        #expect(found > 10_000)
    }
}
