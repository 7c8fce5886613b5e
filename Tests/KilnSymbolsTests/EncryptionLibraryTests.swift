import Foundation
import Glibc
import SystemPackage
import Testing

@testable import KilnSymbols

/// What a process encrypts with, told from its mappings.
@Suite struct EncryptionLibraryTests {
    private func library(_ files: String...) throws -> EncryptionLibrary {
        let lines = files.enumerated().map { index, file in
            let start = 0x7f00_0000_0000 + UInt64(index) * 0x10000
            return "\(String(start, radix: 16))-\(String(start + 0x2000, radix: 16)) r-xp 00001000 fd:01 \(index + 1)  \(file)\n"
        }
        return EncryptionLibrary(try ProcessMappings(parsing: Array(lines.joined().utf8)), directory: "/proc/no-such-process")
    }

    @Test func openSSLIsFoundAmongOthers() throws {
        let found = try library("/usr/bin/redis-server", "/usr/lib/libcrypto.so.3", "/usr/lib/libgnutls.so.30", "/usr/lib/libssl.so.1.1")
        #expect(found == .openSSL(name: "libssl.so.1.1", path: "/proc/no-such-process/root/usr/lib/libssl.so.1.1"))
    }

    @Test func otherLibrariesAreNamed() throws {
        #expect(try library("/usr/bin/server", "/usr/lib/libgnutls.so.30.34.3") == .other(name: "libgnutls.so.30.34.3"))
        // Of Mozilla's NSS, whose name is one character longer.
        #expect(try library("/usr/bin/server", "/usr/lib/libssl3.so") == .other(name: "libssl3.so"))
    }

    @Test func withoutALibraryNothingIsKnown() throws {
        #expect(try library("/usr/bin/redis-server", "/usr/lib/libc.so.6") == .unknown)
    }

    @Test func aRunningProgramThatUsesNoneHasNone() {
        #expect(EncryptionLibrary(ofProcess: getpid()) == .unknown)
    }

    @Test func functionsAreFoundWhereTheyAreMapped() throws {
        let address = UInt64(UInt(bitPattern: try #require(dlsym(nil, "getppid"))))
        let maps = try String(contentsOfFile: "/proc/self/maps", encoding: .utf8)
        let mappings = try ProcessMappings(parsing: Array(maps.utf8)).mappings
        let mapping = try #require(mappings.first { ($0.start..<$0.end).contains(address) })
        guard case .file(let path, _) = mapping.backing else { throw Errno.noSuchFileOrDirectory }
        let found = try fileOffsets(ofFunctions: ["getppid", "no_such_function"], inFile: path)
        #expect(found == ["getppid": address - mapping.start + mapping.fileOffset])
        #expect(throws: (any Error).self) { try fileOffsets(ofFunctions: ["getppid"], inFile: "/proc/self/maps") }
    }
}
