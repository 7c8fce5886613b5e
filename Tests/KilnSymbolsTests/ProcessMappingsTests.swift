import Glibc
import KilnSymbols
import SystemPackage
import Testing

@Suite struct ProcessMappingsTests {
    static let example = """
        55d0a0a00000-55d0a0a2c000 r--p 00000000 fd:01 1835017                    /usr/bin/redis-server
        55d0a0a2c000-55d0a0bd1000 r-xp 0002c000 fd:01 1835017                    /usr/bin/redis-server
        55d0a1c8f000-55d0a1cb0000 rw-p 00000000 00:00 0                          [heap]
        7f21a4000000-7f21a4021000 rw-p 00000000 00:00 0 
        7f21a8000000-7f21a8001000 rwxp 00000000 00:00 0
        7f21a9000000-7f21a9001000 r-xp 00001000 103:0a 77                        /opt/my app/lib\\012x.so (deleted)
        7f21aa000000-7f21aa001000 rw-s 00000000 00:01 2048                       /memfd:ring buffer (deleted)
        7f21ab000000-7f21ab001000 rw-p 00000000 00:00 0                          [anon:glibc: malloc arena]
        7ffd8b5f4000-7ffd8b5f6000 r-xp 00000000 00:00 0                          [vdso]
        ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]

        """

    static func parse(_ text: String) throws -> ProcessMappings { try ProcessMappings(parsing: Array(text.utf8)) }

    @Test func everyFieldOfALineIsKept() throws {
        let code = try Self.parse(Self.example).mappings[1]
        #expect(code.start == 0x55d0_a0a2_c000)
        #expect(code.end == 0x55d0_a0bd_1000)
        #expect(code.fileOffset == 0x2c000)
        #expect(code.permissions == [.read, .execute])
        #expect(code.device == Mapping.Device(major: 0xfd, minor: 1))
        #expect(code.inode == 1_835_017)
        #expect(code.backing == .file(path: "/usr/bin/redis-server", isDeleted: false))
        #expect(code.moduleName == "redis-server")
    }

    @Test func eachKindOfBackingIsToldApart() throws {
        let backings = try Self.parse(Self.example).mappings.map(\.backing)
        #expect(backings[2] == .named("[heap]"))
        #expect(backings[3] == .anonymous)
        #expect(backings[4] == .anonymous)
        #expect(backings[5] == .file(path: "/opt/my app/lib\nx.so", isDeleted: true))
        #expect(backings[6] == .file(path: "/memfd:ring buffer", isDeleted: true))
        #expect(backings[7] == .named("[anon:glibc: malloc arena]"))
        #expect(backings[8] == .named("[vdso]"))
        #expect(backings[9] == .named("[vsyscall]"))
    }

    @Test func sharedMappingsAndWideDeviceNumbersAreParsed() throws {
        let mappings = try Self.parse(Self.example).mappings
        #expect(mappings[6].permissions == [.read, .write, .shared])
        #expect(mappings[5].device == Mapping.Device(major: 0x103, minor: 0x0a))
    }

    @Test func anAddressIsFoundFromTheFirstByteToTheLastAndNotBehind() throws {
        let mappings = try Self.parse(Self.example)
        #expect(mappings.mapping(containing: 0x55d0_a0a2_c000)?.fileOffset == 0x2c000)
        #expect(mappings.mapping(containing: 0x55d0_a0bd_0fff)?.fileOffset == 0x2c000)
        #expect(mappings.mapping(containing: 0x55d0_a0bd_1000) == nil)
        #expect(mappings.mapping(containing: 0) == nil)
        #expect(mappings.mapping(containing: .max) == nil)
        #expect(mappings.mapping(containing: 0xffff_ffff_ff60_0000)?.moduleName == "[vsyscall]")
    }

    @Test func noMappingsAtAllIsAnEmptyProcess() throws {
        #expect(try Self.parse("").mappings.isEmpty)
        #expect(try Self.parse("").mapping(containing: 1) == nil)
    }

    @Test(arguments: [
        "nonsense", "1000-2000", "2000-1000 r-xp 00000000 00:00 0", "1000-2000 r?xp 00000000 00:00 0 /x",
        "1000-2000 r-xp 00000000 00:00 99999999999999999999 /x", "1000-2000 r-xp 00000000 00:00 18446744073709551616",
        "11112222333344445-2 r-xp 0 0:0 0", "1000-2000 r-x",
    ])
    func aLineThatIsNoMappingIsAnErrorThatShowsIt(line: String) throws {
        let error = #expect(throws: MappingsError.self) { try Self.parse("1000-2000 r-xp 00000000 00:00 0\n" + line) }
        #expect(error?.line == 2)
        #expect(error?.text == line)
    }

    @Test func aReadThatCaughtAMappingTwiceKeepsTheLaterLine() throws {
        let mappings = try Self.parse(
            """
            1000-2000 r-xp 00000000 00:00 1 /old
            1000-3000 r-xp 00000000 00:00 2 /new
            4000-5000 r-xp 00000000 00:00 3 /next
            """)
        #expect(mappings.mappings.map(\.moduleName) == ["new", "next"])
    }

    @Test func theMappingsOfThisProcessHoldItsOwnCode() throws {
        let file = try FileDescriptor.open("/proc/self/maps", .readOnly)
        var bytes: [UInt8] = []
        try file.closeAfter {
            var buffer = [UInt8](repeating: 0, count: 65536)
            while case let count = try buffer.withUnsafeMutableBytes({ try file.read(into: $0) }), count > 0 {
                bytes += buffer[..<count]
            }
        }
        let mappings = try ProcessMappings(parsing: bytes)
        let address = try #require(dlsym(nil, "qsort"))
        let mapping = try #require(mappings.mapping(containing: UInt64(UInt(bitPattern: address))))
        #expect(mapping.permissions.contains(.execute))
    }
}
