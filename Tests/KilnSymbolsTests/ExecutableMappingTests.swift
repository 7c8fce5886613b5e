import Foundation
import KilnBPF
import KilnSymbols
import Testing

/// From a process's address space to unwind tables.
@Suite struct ExecutableMappingTests {
    @Test func functionsOfThisProcessHaveRowsThroughTheirMappings() throws {
        let mappings = try Symbolizer(pid: getpid()).executableMappings()
        #expect(zip(mappings, mappings.dropFirst()).allSatisfy { $0.end <= $1.start })
        for name in ["qsort", "malloc", "elf_begin", "swift_retain"] {
            let address = UInt64(UInt(bitPattern: try #require(dlsym(nil, name))))
            let mapping = try #require(mappings.first { $0.start <= address && address < $0.end })
            let file = try #require(mapping.file, "\(name)")
            #expect(file.identity?.inode == mapping.mapping.inode)
            // At a function's first instruction only the return address is on the stack.
            let row = try #require(try file.unwindTable().row(at: address - mapping.bias))
            #expect(row.rule == UInt8(KILN_UNWIND_SP.rawValue) && row.offset == 1, "\(name): \(row)")
        }
    }

    @Test func theVirtualSharedObjectHasATableToo() throws {
        let mapping = try #require(try Symbolizer(pid: getpid()).executableMappings().first { $0.mapping.moduleName == "[vdso]" })
        let file = try #require(mapping.file)
        #expect(file.identity == nil)
        let table = try file.unwindTable()
        #expect(table.rowCount > 0)
        // The image is linked at 0.
        #expect(mapping.bias == mapping.start)
    }

    @Test func justInTimeCodeHasNoFile() throws {
        let page = try #require(mmap(nil, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))
        defer { munmap(page, 4096) }
        let address = UInt64(UInt(bitPattern: page))
        let mapping = try #require(try Symbolizer(pid: getpid()).executableMappings().first { $0.start <= address && address < $0.end })
        #expect(mapping.file == nil)
        #expect(mapping.bias == 0)
    }

    @Test func processesThatMapTheSameFileShareItsTable() throws {
        let store = SymbolStore()
        let first = try Symbolizer(pid: getpid(), sharing: store).executableMappings().compactMap(\.file)
        let second = try Symbolizer(pid: getpid(), sharing: store).executableMappings().compactMap(\.file)
        #expect(!first.isEmpty)
        #expect(Set(first) == Set(second))
    }

    @Test func aTableCanBeReleasedAndBuiltAgain() throws {
        let symbolizer = try Symbolizer(pid: getpid())
        let file = try #require(symbolizer.executableMappings().first { $0.file?.identity != nil }?.file)
        let before = try file.unwindTable()
        file.releaseUnwindTable()
        #expect(try file.unwindTable().cells == before.cells)
    }
}
