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
        let maps = try OpenFile(at: FileDescriptor(rawValue: AT_FDCWD), "/proc/self/maps")
        let mappings = try ProcessMappings(parsing: maps.descriptor.readToEnd()).mappings
        let mapping = try #require(mappings.first { ($0.start..<$0.end).contains(address) })
        guard case .file(let path, _) = mapping.backing else { throw Errno.noSuchFileOrDirectory }
        let found = try fileOffsets(ofFunctions: ["getppid", "no_such_function"], inFile: path)
        #expect(found == ["getppid": address - mapping.start + mapping.fileOffset])
        #expect(throws: (any Error).self) { try fileOffsets(ofFunctions: ["getppid"], inFile: "/proc/self/maps") }
    }

    /// Code as OpenSSL 3.0 has it, at these offsets of a file: SSL_read 0x100, SSL_read_ex 0x180, what both call 0x40.
    private func internals(plain: [UInt8], extended: [UInt8], start: [UInt8] = [0x41, 0x55]) throws -> [String: UInt64] {
        func call(from offset: Int, _ before: [UInt8]) -> [UInt8] {
            let distance = Int32(0x40 - (offset + before.count + 5))
            return before + [0xe8] + withUnsafeBytes(of: distance.littleEndian) { Array($0) } + [0xc3]
        }
        var file = [UInt8](repeating: 0xcc, count: 0x200)
        for (offset, code) in [(0x40, start), (0x100, call(from: 0x100, plain)), (0x180, call(from: 0x180, extended))] {
            file.replaceSubrange(offset..<(offset + code.count), with: code)
        }
        let path = NSTemporaryDirectory() + "kiln-test-\(UUID().uuidString)"
        defer { unlink(path) }
        try Data(file).write(to: URL(fileURLWithPath: path))
        return openSSLInternals(inFile: path, calledBy: ["SSL_read": 0x100, "SSL_read_ex": 0x180, "SSL_write": 0x100])
    }

    @Test func whatSSLReadHandsOverToIsFoundWhereItIsCertain() throws {
        let pointer: [UInt8] = [0x48, 0x83, 0xec, 0x18, 0x48, 0x89, 0xe1, 0x48, 0x63, 0xd2]    // sub, mov %rsp,%rcx, movslq
        let frame: [UInt8] = [0x48, 0x83, 0xec, 0x08]
        #expect(try internals(plain: pointer, extended: frame) == ["ssl_read_internal": 0x40])
        // Behind an endbr64.
        #expect(try internals(plain: pointer, extended: frame, start: [0xf3, 0x0f, 0x1e, 0xfa, 0x53]) == ["ssl_read_internal": 0x44])
        // The count is a fifth argument; the fourth one is zero; no argument is on the stack; what is called begins otherwise.
        #expect(try internals(plain: pointer + [0x49, 0x89, 0xe0], extended: frame).isEmpty)
        #expect(try internals(plain: pointer, extended: frame + [0x31, 0xc9]).isEmpty)
        #expect(try internals(plain: frame, extended: frame).isEmpty)
        #expect(try internals(plain: pointer, extended: frame, start: [0x48, 0x83]).isEmpty)
        #expect(openSSLInternals(inFile: "/no/such/file", calledBy: ["SSL_read": 0x100, "SSL_read_ex": 0x180]).isEmpty)
    }
}
