import KilnSymbols
import Testing

/// The memory that unwind tables take; `make bench` measures the time.
@Suite struct UnwindSizeTests {
    @Test func aServerAndItsLibrariesTakeLessThanThreeMegabytes() throws {
        let server = try firstExisting(["/usr/bin/redis-server"])
        var bytes = try unwindTable(of: server).byteCount
        // Lines of ldd: name => path (address)
        for line in try run("ldd", [server]).split(separator: "\n") {
            guard let path = line.split(separator: " ").first(where: { $0.hasPrefix("/") }) else { continue }
            bytes += try unwindTable(of: String(path)).byteCount
        }
        #expect(bytes < 3_000_000, "\(bytes) bytes")
        #expect(bytes > 500_000)
    }
}
