import Foundation
import KilnSymbols
import SystemPackage
import Testing

/// The kernel's functions, from its own list or from its symbols.
struct KernelFunctionsTests {
    @Test func theKernelsOwnListIsPreferredToItsSymbols() throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let list = FilePath(workshop.path("available_filter_functions")), symbols = FilePath(workshop.path("kallsyms"))
        try "tcp_recvmsg\next4_iget [ext4]\ntcp_recvmsg\n".write(toFile: list.string, atomically: true, encoding: .utf8)
        try "ffffffff81000000 T tcp_recvmsg\nffffffff81000100 t tcp_recvmsg.cold\nffffffff81000200 D jiffies\nffffffffc0000000 t ext4_iget\t[ext4]\n".write(
            toFile: symbols.string, atomically: true, encoding: .utf8)
        let own = try KernelFunctions(readingFrom: ["/nonexistent/list", list], symbols: symbols)
        #expect(own.areKnownAsProbeable)
        #expect(own.functions.map(\.name) == ["tcp_recvmsg", "ext4_iget"] && own.functions.map(\.module) == ["[kernel]", "[ext4]"])
        #expect(own.functions.allSatisfy { $0.address == nil })
        let other = try KernelFunctions(readingFrom: ["/nonexistent/list"], symbols: symbols)
        #expect(!other.areKnownAsProbeable && other.functions.map(\.name) == ["tcp_recvmsg", "ext4_iget"])
        #expect(other.functions.map(\.address) == [0xffff_ffff_8100_0000, 0xffff_ffff_c000_0000])
        #expect(throws: KernelSymbolsError.self) { try KernelFunctions(readingFrom: [], symbols: "/nonexistent/kallsyms") }
    }
}
