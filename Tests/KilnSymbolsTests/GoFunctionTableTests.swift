import Foundation
import KilnBPF
import KilnSymbols
import Testing

/// Go's own table of functions, against the call frame information that its linker writes for debuggers from another source.
@Suite(.enabled(if: Tools.go, "needs go (golang-go)")) struct GoFunctionTableTests {
    static func compile(_ workshop: Workshop, to name: String, _ options: [String] = []) throws -> String {
        let source = workshop.path("program.go")
        try """
        package main

        import "fmt"

        func main() { fmt.Println("a program with a run-time library") }
        """.write(toFile: source, atomically: true, encoding: .utf8)
        let environment = ["GO111MODULE=off", "CGO_ENABLED=0", "GOCACHE=" + workshop.path("cache")]
        try run("env", environment + ["go", "build", "-o", workshop.path(name)] + options + [source])
        return workshop.path(name)
    }

    @Test func framesAreWhereTheDebuggersInformationHasThem() throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let path = try Self.compile(workshop, to: "program")
        let table = try unwindTable(of: path)
        expectSound(table)
        let reference = try #require(FrameReference(path, isDebugFrame: true))
        var same = 0, differing: [String] = []
        for row in table.rows where row.rule == UInt8(KILN_UNWIND_SP.rawValue) {
            let address = table.base + UInt64(row.pc)
            guard let frame = reference.frame(at: address) else { continue }
            // DW_OP_bregx rsp
            let canonical = FrameReference.operations(frame.canonical_address)
            if canonical.count == 1, canonical[0].first == 7, canonical[0].second == Int64(row.offset) * 8 {
                same += 1
            } else {
                differing.append("\(String(address, radix: 16)): \(row) but \(canonical)")
            }
        }
        #expect(same > 5000)
        #expect(differing.isEmpty, "\(differing.count) differ: \(differing.prefix(5))")

        let symbols = Dictionary(try listedSymbols(of: path, dynamic: false).map { ($0.name, $0) }) { first, _ in first }
        let rule = { (name: String) in (symbols[name] ?? symbols[name + ".abi0"]).flatMap { table.rule(at: $0.address) } }
        for name in ["runtime.goexit", "runtime.mstart", "runtime.mcall", "runtime.morestack"] { #expect(rule(name) == KILN_UNWIND_END) }
        #expect(rule("runtime.systemstack") == KILN_UNWIND_FP_ELSEWHERE)
        #expect(rule("main.main") == KILN_UNWIND_SP)
        let trampoline = try #require(symbols.values.first { $0.name.hasPrefix("runtime.sigreturn") })
        #expect(table.rule(at: trampoline.address - 1) == KILN_UNWIND_SIGNAL)
    }

    /// Every function of the program has in the stripped one the name that the linker gave it, but for the types of generics, which Go's table abbreviates.
    @Test func functionsOfAStrippedProgramAreNamed() throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let whole = try Self.compile(workshop, to: "program"), stripped = try Self.compile(workshop, to: "stripped", ["-ldflags=-s -w"])
        func table(_ path: String) throws -> SymbolTable {
            try SymbolTable(image: Array(try Data(contentsOf: URL(fileURLWithPath: path))), named: path)
        }
        let (named, found) = (try table(whole), try table(stripped))
        var same = 0, other: [String] = []
        for symbol in try listedSymbols(of: whole, dynamic: false) where symbol.isFunction && symbol.size > 0 {
            guard let expected = named.function(at: symbol.address) else { continue }
            // Assembly has its ABI behind the name in the symbol table only.
            let plain = expected.name.replacingOccurrences(of: ".abi0", with: "")
            let match = found.function(at: symbol.address), isPlace = match?.start == expected.start
            func stem(_ name: String?) -> Substring? { name?.prefix { $0 != "[" } }
            if isPlace, match?.name == plain {
                same += 1
            } else if !(isPlace && plain.contains("[") && stem(match?.name) == stem(plain)), !["go:buildid", "go.buildid"].contains(plain) {
                other.append("\(expected) is \(String(describing: match))")
            }
        }
        #expect(same > 1000)
        #expect(other.isEmpty, "\(other.count) differ: \(other.prefix(20))")
    }

    @Test func aStrippedProgramHasTheSameRows() throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let whole = try unwindTable(of: try Self.compile(workshop, to: "program"))
        let stripped = try unwindTable(of: try Self.compile(workshop, to: "stripped", ["-ldflags=-s -w"]))
        #expect(stripped.base == whole.base)
        #expect(stripped.cells == whole.cells)
    }

    @Test func aDamagedTableOfFunctionsGivesATableOrAnError() throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let path = try Self.compile(workshop, to: "stripped", ["-ldflags=-s -w"])
        let original = Array(try Data(contentsOf: URL(fileURLWithPath: path)))
        let lines = try run("readelf", ["-SW", path]).split(separator: "\n")
        let fields = try #require(lines.first { $0.contains(" .gopclntab ") }).split(separator: "]")[1].split(separator: " ")
        let (offset, size) = (try #require(Int(fields[3], radix: 16)), try #require(Int(fields[4], radix: 16)))
        var random = BrokenFileTests.Seeded(seed: 1969)
        for number in 0..<60 {
            var damaged = original
            // Of every other image the header, of the others anything.
            let places = offset..<offset + (number % 2 == 0 ? 72 : size)
            for _ in 0..<(number % 2 == 0 ? 2 : 2000) {
                damaged[Int.random(in: places, using: &random)] = [0, 1, 0x7f, 0x80, 0xff][Int.random(in: 0..<5, using: &random)]
            }
            _ = UnwindDamageTests.survives(damaged, true)
        }
        #expect(UnwindDamageTests.survives(original, true))
    }
}
