import Glibc
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
}
