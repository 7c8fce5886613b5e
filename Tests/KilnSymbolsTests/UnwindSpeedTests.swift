import Foundation
import KilnSymbols
import Testing

/// Time and room that tables take. Times are only measured in optimised builds: `swift test -c release`.
@Suite(.serialized) struct UnwindSpeedTests {
    /// Milliseconds of the fastest of several builds, the file's reading included.
    static func milliseconds(_ path: String) throws -> Double {
        var best = Double.infinity
        for _ in 0..<10 {
            let elapsed = try ContinuousClock().measure { _ = try unwindTable(of: path) }
            best = min(best, elapsed / .milliseconds(1))
        }
        return best
    }

    static func existing(_ paths: [String]) -> String? { paths.first { FileManager.default.fileExists(atPath: $0) } }

    #if !DEBUG
    @Test(arguments: [
        (["/usr/bin/redis-server"], 4.0), (UnwindReferenceTests.libraries("libc.so.6"), 2.5),
        (["libLLVM-15.so.1", "libLLVM-14.so.1", "libLLVM.so.1"].flatMap(UnwindReferenceTests.libraries), 80.0),
    ])
    func tablesAreBuiltInMilliseconds(paths: [String], bound: Double) throws {
        let path = try firstExisting(paths)
        let elapsed = try Self.milliseconds(path)
        #expect(elapsed <= bound, "\(path): \(elapsed) ms")
    }
    #endif

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
