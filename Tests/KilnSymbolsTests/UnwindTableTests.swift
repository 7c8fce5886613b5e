import Foundation
import KilnBPF
import KilnSymbols
import Testing

/// Tables of real files against libdw, row by row.
@Suite struct UnwindReferenceTests {
    /// The first of a line's paths that exists is compared. The bound is on rows that a table can't express: frames of more
    /// than 768 KiB without frame pointer, the loader's start-up code, `setcontext`, a few instructions of OpenSSL's assembly.
    static let files: [(paths: [String], unsupported: Int)] = [
        (["/usr/bin/redis-server", "/usr/bin/redis-check-rdb"], 4),
        (libraries("libc.so.6"), 4),
        (libraries("libstdc++.so.6"), 0),
        (libraries("ld-linux-x86-64.so.2"), 1),
        (libraries("libcrypto.so.3"), 9),
        (libraries("libm.so.6"), 0),
        (["/usr/bin/python3"], 4),
    ]

    static func libraries(_ name: String) -> [String] {
        ["/lib/x86_64-linux-gnu/", "/usr/lib64/", "/lib64/", "/usr/lib/"].map { $0 + name }
    }

    @Test(arguments: files.indices)
    func everyRowOfAStockFileSaysWhatLibdwSays(index: Int) throws {
        let (paths, bound) = Self.files[index]
        let path = try firstExisting(paths)
        let table = try unwindTable(of: path)
        let reference = try #require(FrameReference(path))
        let result = reference.compare(table)
        #expect(result.differing.isEmpty, "\(result.differing.count) differ: \(result.differing.prefix(5))")
        #expect(result.equal > 100)
        #expect(result.unsupported <= bound)
        #expect(table.malformedEntryCount == 0)
        expectSound(table)
    }

    @Test func everyRowOfTheVirtualSharedObjectSaysWhatLibdwSays() throws {
        let image = try #require(try VirtualSharedObject.image())
        let table = try UnwindTable(image: image, named: "[vdso]")
        let reference = try #require(FrameReference(image: image))
        let result = reference.compare(table)
        #expect(result.differing.isEmpty, "\(result.differing)")
        #expect(result.equal > 5)
        #expect(result.unsupported == 0)
        expectSound(table)
    }
}

enum VirtualSharedObject {
    /// The image in this process; nil where the kernel maps none.
    static func image() throws -> [UInt8]? {
        let maps = try run("cat", ["/proc/\(getpid())/maps"])
        guard let line = maps.split(separator: "\n").first(where: { $0.hasSuffix("[vdso]") }) else { return nil }
        let ends = line.prefix { $0 != " " }.split(separator: "-").compactMap { UInt(String($0), radix: 16) }
        guard ends.count == 2, let start = UnsafeRawPointer(bitPattern: ends[0]) else { return nil }
        return Array(UnsafeRawBufferPointer(start: start, count: Int(ends[1] - ends[0])))
    }
}

/// What the kernel's search takes for granted of a table.
func expectSound(_ table: UnwindTable, _ location: SourceLocation = #_sourceLocation) {
    #expect(table.base % 256 == 0, sourceLocation: location)
    #expect(table.cells.count == max(1, table.granuleCount + table.rowCount), sourceLocation: location)
    let rows = table.rows
    #expect(rows.first.map { $0.pc == 0 } ?? true, "the first row is not at the base", sourceLocation: location)
    #expect(zip(rows, rows.dropFirst()).allSatisfy { $0.pc < $1.pc }, "not sorted", sourceLocation: location)
    var next = table.granuleCount
    var isIndexed = true
    for (number, cell) in table.cells.prefix(table.granuleCount).enumerated() {
        let (first, end) = (Int(cell & 0xffff_ffff), Int(cell >> 32))
        isIndexed = isIndexed && first == next && end >= first && end <= table.cells.count
        guard isIndexed else { break }
        for cell in table.cells[first..<end] { isIndexed = isIndexed && Int(cell & 0xffff_ffff) >> 8 == number }
        next = end
    }
    #expect(isIndexed && (table.granuleCount == 0 || next == table.cells.count), "the index is wrong", sourceLocation: location)
}
