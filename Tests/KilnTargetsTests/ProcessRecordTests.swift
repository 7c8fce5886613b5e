import Testing

@testable import KilnTargets

@Suite struct ProcessRecordTests {
    @Test func aStatLineGivesParentStateAndStartTime() throws {
        let line = "4711 (redis-server) S 1 4711 4711 0 -1 4194560 1570 0 2 0 123 456 0 0 20 0 5 0 98765 67858432 1792 18446744073709551615 1 1\n"
        let stat = try #require(ProcessStat(parsing: Array(line.utf8)))
        #expect(stat.comm == "redis-server")
        #expect(stat.state.letter == "S")
        #expect(stat.parent == 1)
        #expect(stat.userTicks == 123 && stat.systemTicks == 456)
        #expect(stat.threadCount == 5)
        #expect(stat.startTime == 98765)
        #expect(!stat.isKernelThread)
    }

    @Test func aNameFullOfParenthesesDoesNotShiftTheFields() throws {
        let line = "12 (a) R 1 (b\n) ) Z 7 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 42 0 0 0\n"
        let stat = try #require(ProcessStat(parsing: Array(line.utf8)))
        #expect(stat.comm == "a) R 1 (b\n) ")
        #expect(stat.parent == 7)
        #expect(stat.startTime == 42)
        #expect(stat.state.isDead)
        #expect(stat.isKernelThread)
    }

    @Test(arguments: ["", "12", "12 (x)", "12 (x) S", "12 )x( S 1", "12 (x) S 1 1 1 0 -1 4 0 0 0 0 1 2 0 0 20 0 1 0", "(((((", ")"])
    func aBrokenStatLineIsNoRecord(_ text: String) {
        #expect(ProcessStat(parsing: Array(text.utf8)) == nil)
    }

    @Test func statusTellsTheThreadGroupAndThePidInEachNamespace() throws {
        let text = """
            Name:\tredis-server
            Umask:\t0022
            State:\tS (sleeping)
            Tgid:\t4711
            Ngid:\t0
            Pid:\t4711
            PPid:\t4690
            TracerPid:\t0
            Uid:\t999\t1000\t1001\t1002
            NStgid:\t4711\t1
            NSpid:\t4711\t1

            """
        let status = try #require(ProcessStatus(parsing: Array(text.utf8)))
        #expect(status.threadGroup == 4711 && status.pid == 4711 && status.parent == 4690)
        #expect(status.uid == 999)
        #expect(status.namespacePIDs == [4711, 1])
    }

    @Test func statusOfAnOldKernelWithoutNSpidGivesThePidItself() throws {
        let text = "Name:\tx\nState:\tR (running)\nTgid:\t5\nPid:\t5\nPPid:\t0\nUid:\t0\t0\t0\t0\n"
        #expect(try #require(ProcessStatus(parsing: Array(text.utf8))).namespacePIDs == [5])
    }

    @Test func aStatusWithoutAThreadGroupIsNoRecord() {
        #expect(ProcessStatus(parsing: Array("Name:\tx\nState:\tR\nPid:\t5\n".utf8)) == nil)
        #expect(ProcessStatus(parsing: []) == nil)
    }

    @Test func argumentsEndInZeroBytesAndATitleHasATailOfThem() {
        #expect(commandLineArguments(parsing: Array("redis-server\0--save\0\0--port\06379\0".utf8)) == ["redis-server", "--save", "", "--port", "6379"])
        #expect(commandLineArguments(parsing: Array("redis-server *:6379\0\0\0\0\0".utf8)) == ["redis-server *:6379"])
        #expect(commandLineArguments(parsing: []).isEmpty)
    }

    @Test func numbersThatDoNotFitAreNoNumbers() {
        #expect(Bytes("65536".utf8).number(as: UInt16.self) == nil)
        #expect(Bytes("65535".utf8).number(as: UInt16.self) == 65535)
        #expect(Bytes("18446744073709551616".utf8).number(as: UInt64.self) == nil)
        #expect(Bytes("-1".utf8).number(as: UInt64.self) == nil)
        #expect(Bytes("7f".utf8).number(radix: 16, as: UInt8.self) == 127)
        #expect(Bytes("2147483648".utf8).pid == nil)
        #expect(Bytes("0".utf8).pid == nil)
    }

    @Test func linksToSocketsAndNamespacesGiveTheirInode() {
        #expect(Bytes("socket:[12345]".utf8).inode(ofKind: "socket") == 12345)
        #expect(Bytes("net:[4026531840]".utf8).inode(ofKind: "net") == 4_026_531_840)
        for text in ["socket:[]", "socket:[x]", "socket:12", "pipe:[1]", "/tmp/socket:[1]", "", "socket"] {
            #expect(Bytes(text.utf8).inode(ofKind: "socket") == nil, "\(text)")
        }
    }
}
