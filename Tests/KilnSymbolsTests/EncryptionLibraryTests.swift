import Foundation
import Glibc
import SystemPackage
import TestSupport
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

    @Test func aRunningProgramThatUsesNoneHasNone() throws {
        let program = Process()
        program.executableURL = URL(fileURLWithPath: "/bin/sleep")
        program.arguments = ["60"]
        try program.run()
        defer { program.terminate() }
        #expect(EncryptionLibrary(ofProcess: program.processIdentifier) == .unknown)
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

    /// What hands over, as Debian's builds have it, at these offsets of a file: SSL_read or SSL_write 0x100, its _ex or _ex2 form 0x180, what both
    /// call 0x40.
    private func internals(plain: [UInt8], extended: [UInt8], start: [UInt8] = [0x41, 0x55], form: String = "_ex") throws -> [String: UInt64] {
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
        return openSSLInternals(inFile: path, calledBy: ["SSL_write": 0x100, "SSL_write" + form: 0x180, "SSL_read": 0x100])
    }

    @Test func whatSSLWriteHandsOverToIsFoundWhereItIsCertain() throws {
        let pointer: [UInt8] = [0x48, 0x83, 0xec, 0x18, 0x48, 0x89, 0xe1, 0x48, 0x63, 0xd2]  // sub, mov %rsp,%rcx, movslq
        let frame: [UInt8] = [0x48, 0x83, 0xec, 0x08]
        #expect(try internals(plain: pointer, extended: frame) == ["ssl_write_internal": 0x40])
        // Behind an endbr64.
        #expect(try internals(plain: pointer, extended: frame, start: [0xf3, 0x0f, 0x1e, 0xfa, 0x53]) == ["ssl_write_internal": 0x44])
        // The count is a fifth argument; the fourth one is zero; no argument is on the stack; what is called begins otherwise.
        #expect(try internals(plain: pointer + [0x49, 0x89, 0xe0], extended: frame).isEmpty)
        #expect(try internals(plain: pointer, extended: frame + [0x31, 0xc9]).isEmpty)
        #expect(try internals(plain: frame, extended: frame).isEmpty)
        #expect(try internals(plain: pointer, extended: frame, start: [0x48, 0x83]).isEmpty)
        // From OpenSSL 3.3 on: xor %ecx,%ecx, movslq, mov %rsp,%r8.
        let flags: [UInt8] = [0x48, 0x83, 0xec, 0x18, 0x31, 0xc9, 0x48, 0x63, 0xd2, 0x49, 0x89, 0xe0]
        #expect(try internals(plain: flags, extended: frame, form: "_ex2") == ["ssl_write_internal": 0x40])
        #expect(try internals(plain: pointer, extended: frame, form: "_ex2").isEmpty)
        #expect(try internals(plain: flags, extended: frame).isEmpty)
        #expect(openSSLInternals(inFile: "/no/such/file", calledBy: ["SSL_write": 0x100, "SSL_write_ex": 0x180]).isEmpty)
    }

    /// Debian's builds of OpenSSL that are here: the version, the tree it lies in, whether its inside begins with a push. Of those that were not
    /// fetched, tests that run servers with them say so.
    private static let builds = [("3.0", "", true), ("3.5", fetchedServers + "/trixie/root", true), ("3.6", fetchedServers + "/sid/root", false)].filter {
        let crypto = try? Data(contentsOf: URL(fileURLWithPath: $0.1 + "/usr/lib/x86_64-linux-gnu/libcrypto.so.3"), options: .alwaysMapped)
        return crypto?.range(of: Data("OpenSSL \($0.0).".utf8)) != nil
    }

    @Test(arguments: builds)
    func theInsideOfDebiansLibrariesIsFoundWhereProbesAreCheapThere(version: String, root: String, found: Bool) throws {
        let path = root + "/usr/lib/x86_64-linux-gnu/libssl.so.3"
        let functions = try fileOffsets(ofFunctions: ["SSL_read", "SSL_read_ex", "SSL_write", "SSL_write_ex", "SSL_write_ex2"], inFile: path)
        #expect((functions["SSL_write_ex2"] == nil) == (version == "3.0"))
        let inside = openSSLInternals(inFile: path, calledBy: functions)
        #expect(inside.keys.sorted() == (found ? ["ssl_read_internal", "ssl_write_internal"] : []))
        #expect(inside.values.allSatisfy { !isSteppedWhenProbed(at: $0, inFile: path) })
        for name in ["SSL_read", "SSL_write"] { #expect(isSteppedWhenProbed(at: try #require(functions[name]), inFile: path)) }
    }
}
