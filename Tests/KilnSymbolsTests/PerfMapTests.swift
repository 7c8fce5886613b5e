import Foundation
@testable import KilnSymbols
import SystemPackage
import TestSupport
import Testing

/// Maps of just-in-time compiled code, written well and badly.
@Suite struct PerfMapTests {
    private static func map(_ text: String, _ limits: PerfMap.Limits = .init()) -> PerfMap { PerfMap(parsing: Array(text.utf8), limits: limits) }

    @Test func aFunctionReachesFromItsStartOverItsSize() {
        let map = Self.map("7f0000001000 20 first\n7f0000001020 10 JS:~second one file.js:1:2\n")
        #expect(map.function(at: 0x7f00_0000_0fff) == nil)
        #expect(map.function(at: 0x7f00_0000_1000) == .init(name: "first", start: 0x7f00_0000_1000))
        #expect(map.function(at: 0x7f00_0000_101f) == .init(name: "first", start: 0x7f00_0000_1000))
        #expect(map.function(at: 0x7f00_0000_102f) == .init(name: "JS:~second one file.js:1:2", start: 0x7f00_0000_1020))
        #expect(map.function(at: 0x7f00_0000_1030) == nil)
    }

    @Test func aLaterLineTakesWhatItOverlaps() {
        let map = Self.map("1000 100 old\n1040 20 inner\n10f0 100 behind\nff0 20 before\n")
        let expected: [(UInt64, String)] = [
            (0xff0, "before"), (0x100f, "before"), (0x1010, "old"), (0x103f, "old"), (0x1040, "inner"), (0x105f, "inner"), (0x1060, "old"),
            (0x10ef, "old"), (0x10f0, "behind"), (0x11ef, "behind"),
        ]
        for (address, name) in expected { #expect(map.function(at: address)?.name == name, "\(String(address, radix: 16))") }
        #expect(map.function(at: 0x1060)?.start == 0x1000, "the offset still counts from the function's start")
        #expect(Self.map("1000 10 a\n1000 10 b\n").function(at: 0x1008)?.name == "b")
    }

    @Test func oddLinesAreLeftOut() {
        let map = Self.map(
            """
            1000 10 good

            nonsense
            2000
            2000 10
            2000 0 empty
            g000 10 nodigit
            ffffffffffffffff 10 beyond
            12345678901234567 10 toolong
            -3000 10 negative
            0x4000 0x10 prefixed
            5000\t10\ttabbed
            6000 10   spaced
            7000 10 windows\r
            8000 10 last
            A000 1F upper
            0XB000 0X10 prefix
            """)
        let named = stride(from: UInt64(0x1000), through: 0xb000, by: 0x1000).compactMap { map.function(at: $0)?.name }
        #expect(named == ["good", "prefixed", "tabbed", "spaced", "windows", "last", "upper", "prefix"])
        #expect(map.malformedLineCount == 8)
        #expect(!map.isCut)
    }

    /// The reference keeps every byte's name in an array.
    @Test func randomOverlapsAgreeWithTheObviousImplementation() {
        var random = SeededGenerator(seed: 1969)
        for _ in 0..<200 {
            var expected = [Int?](repeating: nil, count: 600)
            var text = ""
            for line in 0..<Int.random(in: 1...60, using: &random) {
                let start = Int.random(in: 0..<500, using: &random), size = Int.random(in: 1...80, using: &random)
                text += "\(String(start, radix: 16)) \(String(size, radix: 16)) f\(line)\n"
                for address in start..<start + size { expected[address] = line }
            }
            var limits = PerfMap.Limits()
            // Often compacted on the way, or not at all.
            if Bool.random(using: &random) { limits.functions = 400 }
            let map = Self.map(text, limits)
            for address in expected.indices {
                #expect(map.function(at: UInt64(address))?.name == expected[address].map { "f\($0)" })
            }
        }
    }

    @Test func codeThatIsReplacedAgainAndAgainNeedsNoMoreMemory() {
        var limits = PerfMap.Limits()
        limits.functions = 1000
        var text = ""
        for round in 0..<50 {
            for function in 0..<100 { text += "\(String(0x1000 + function * 16, radix: 16)) 10 f\(function).\(round)\n" }
        }
        let map = Self.map(text, limits)
        #expect(!map.isCut)
        #expect(map.functionCount == 100)
        #expect(map.function(at: 0x1000)?.name == "f0.49")
    }

    @Test func tooManyFunctionsAndTooLongNamesAreCutAndThatIsSaid() {
        var limits = PerfMap.Limits()
        limits.functions = 1000
        let many = Self.map((0..<5000).map { "\(String($0 * 16, radix: 16)) 10 f\($0)\n" }.joined(), limits)
        #expect(many.isCut)
        #expect(many.functionCount <= 1000)
        #expect(many.function(at: 16)?.name == "f1")
        let long = Self.map("1000 10 " + String(repeating: "x", count: 100_000) + "\n")
        #expect(long.function(at: 0x1000)?.name.utf8.count == 1024)
    }

    @Test func aFileIsReadAsItsBytesAreParsed() throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let path = workshop.path("map")
        // Lines that lie across the pieces in which the file is read, and one that is longer than a piece.
        let long = String(repeating: "y", count: 3 << 20)
        var text = (0..<60_000).map { "\(String(0x1000 + $0 * 16, radix: 16)) 10 function number \($0)\n" }.joined()
        text += "10 1000 \(long)\n" + "800000 10 last\n" + "800010 10 unfinis"
        try text.write(toFile: path, atomically: true, encoding: .utf8)
        let file = try FileDescriptor.open(FilePath(path), .readOnly, options: .closeOnExec)
        let map = try file.closeAfter { try PerfMap(reading: file) }
        for index in [0, 1, 30_000, 59_999] {
            #expect(map.function(at: UInt64(0x1000 + index * 16))?.name == "function number \(index)")
        }
        #expect(map.function(at: 0x800000)?.name == "last")
        #expect(map.function(at: 0x800010) == nil, "half a line may be half a name")
        #expect(map.functionCount == 60_001)
        var limits = PerfMap.Limits()
        limits.fileBytes = 1 << 20
        let again = try FileDescriptor.open(FilePath(path), .readOnly, options: .closeOnExec)
        let cut = try again.closeAfter { try PerfMap(reading: again, limits: limits) }
        #expect(cut.isCut && cut.functionCount < 60_000 && cut.functionCount > 10_000)
    }

    /// Whether a line names a function, by its words.
    private static func namesAFunction(_ line: ArraySlice<UInt8>) -> Bool {
        func isBlank(_ byte: UInt8) -> Bool { byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") }
        let words = line.split(maxSplits: 2, whereSeparator: isBlank)
        guard words.count == 3, let first = line.first, !isBlank(first), !words[2].allSatisfy(isBlank) else { return false }
        let numbers = words[..<2].map { word -> UInt64? in
            let digits = word.starts(with: "0x".utf8) ? word.dropFirst(2) : word
            guard digits.count <= 16, digits.first != UInt8(ascii: "-") else { return nil }
            return UInt64(String(decoding: digits, as: UTF8.self), radix: 16)
        }
        guard let start = numbers[0], let size = numbers[1], size > 0 else { return false }
        return !start.addingReportingOverflow(size).overflow
    }

    @Test func ofGarbageTheLinesThatNameAFunctionAreFound() {
        var random = SeededGenerator(seed: 3)
        var named = 0
        for _ in 0..<300 {
            let bytes = (0..<Int.random(in: 0...400, using: &random)).map { _ in
                Array("0123456789abcdef \n\t\rx-\u{ff}".utf8)[Int.random(in: 0..<22, using: &random)]
            }
            let map = PerfMap(parsing: bytes)
            let lines = bytes.split(separator: UInt8(ascii: "\n")).map { $0.last == UInt8(ascii: "\r") ? $0.dropLast() : $0 }.filter { !$0.isEmpty }
            let functions = lines.count(where: Self.namesAFunction)
            #expect(map.malformedLineCount == lines.count - functions, "\(String(decoding: bytes, as: UTF8.self).debugDescription)")
            #expect((map.functionCount == 0) == (functions == 0))
            named += functions
            for address: UInt64 in [0, 1, 0xff, 0xffff, .max] { #expect(map.function(at: address).map { $0.start <= address } ?? true) }
        }
        #expect(named > 100)
    }
}

/// This process as one that compiles code: an executable page and a map that names it.
@Suite(.serialized) struct GeneratedFunctionTests {
    static let path = "/tmp/perf-\(getpid()).map"

    /// An executable page of anonymous memory and what its names come from; both are removed with the value.
    private final class Page {
        let address: UInt64
        private let page: UnsafeMutableRawPointer

        init(map: (UInt64) -> String) throws {
            page = try #require(mmap(nil, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))
            address = UInt64(UInt(bitPattern: page))
            try map(address).write(toFile: GeneratedFunctionTests.path, atomically: true, encoding: .utf8)
        }

        deinit {
            munmap(page, 4096)
            unlink(GeneratedFunctionTests.path)
        }
    }

    @Test func withoutAMapCodeIsUnknownBecauseItsMemoryIsAnonymous() throws {
        let page = try #require(mmap(nil, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))
        defer { munmap(page, 4096) }
        let address = UInt64(UInt(bitPattern: page)) + 16
        let symbol = try Symbolizer(pid: getpid()).symbolize(.instructionPointer(address))
        #expect(symbol == .unknown(address: address, reason: .anonymousMemory))
    }

    @Test func compiledCodeIsNamedByTheMap() throws {
        let page = try Page { "\(String($0, radix: 16)) 40 LazyCompile:*hot app.js:3\n" }
        let symbolizer = try Symbolizer(pid: getpid())
        let symbol = symbolizer.symbolize(.returnAddress(page.address + 0x20))
        #expect(symbol == .generated(name: "LazyCompile:*hot app.js:3", offset: 0x20))
        #expect(symbol.foldedFrame(in: .user) == "LazyCompile:*hot app.js:3_[j]")
        let behind = FrameAddress.instructionPointer(page.address + 0x40)
        #expect(symbolizer.symbolize(behind) == .unknown(address: behind.address, reason: .noGeneratedFunction(isCut: false)))
    }

    @Test func theMapIsReadAnewAfterARefresh() throws {
        let page = try Page { "\(String($0, radix: 16)) 40 early\n" }
        let symbolizer = try Symbolizer(pid: getpid())
        let frame = FrameAddress.instructionPointer(page.address)
        #expect(symbolizer.symbolize(frame) == .generated(name: "early", offset: 0))
        try "\(String(page.address, radix: 16)) 40 late\n".write(toFile: Self.path, atomically: true, encoding: .utf8)
        #expect(symbolizer.symbolize(frame) == .generated(name: "early", offset: 0))
        try symbolizer.refresh()
        #expect(symbolizer.symbolize(frame) == .generated(name: "late", offset: 0))
    }

    @Test func aReplacedFunctionIsStillKnownAsItWasBeforeTheComparison() throws {
        let page = try Page { "\(String($0, radix: 16)) 40 early\n\(String($0 + 0x40, radix: 16)) 40 same\n" }
        let symbolizer = try Symbolizer(pid: getpid())
        let frame = FrameAddress.instructionPointer(page.address), same = FrameAddress.instructionPointer(page.address + 0x40)
        let addresses: Set = [page.address, page.address + 0x40, page.address + 0x400]
        #expect(symbolizer.hasNewGeneratedCode)
        #expect(symbolizer.replacedGeneratedCode(at: addresses, number: 1).isEmpty)
        #expect(!symbolizer.hasNewGeneratedCode)
        for (number, name) in [(UInt64(2), "middle"), (5, "late")] {
            let file = try #require(fopen(Self.path, "a"))
            fputs("\(String(page.address, radix: 16)) 30 \(name)\n", file)
            fclose(file)
            #expect(symbolizer.hasNewGeneratedCode)
            #expect(symbolizer.replacedGeneratedCode(at: addresses, number: number) == [page.address])
        }
        func name(before comparison: UInt64?) -> Symbol { symbolizer.symbolize(frame, before: comparison) }
        #expect(name(before: 1) == .generated(name: "early", offset: 0) && name(before: 2) == .generated(name: "early", offset: 0))
        #expect(name(before: 3) == .generated(name: "middle", offset: 0) && name(before: 5) == .generated(name: "middle", offset: 0))
        #expect(name(before: 6) == .generated(name: "late", offset: 0) && name(before: nil) == .generated(name: "late", offset: 0))
        #expect(symbolizer.symbolize(same, before: 2) == .generated(name: "same", offset: 0))
    }

    @Test(.enabled(if: Tools.isRoot, "needs root to give a file away"))
    func anotherUsersMapIsNotBelieved() throws {
        let page = try Page { "\(String($0, radix: 16)) 40 planted\n" }
        #expect(chown(Self.path, 12345, 12345) == 0)
        let symbol = try Symbolizer(pid: getpid()).symbolize(.instructionPointer(page.address))
        guard case .unknown(_, .unusableMap(let error)) = symbol else {
            Issue.record("\(symbol)")
            return
        }
        #expect(error.problem == .foreign(owner: 12345))
        #expect(error.description.contains("user 12345"))
    }
}
