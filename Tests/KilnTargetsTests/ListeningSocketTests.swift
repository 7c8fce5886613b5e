import Testing

@testable import KilnTargets

@Suite struct ListeningSocketTests {
    static let headline =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode                                                     \n"

    // Addresses are printed as words in the machine's order: these lines come from a little-endian one.
    @Test func onlySocketsInStateListenAreListed() {
        let text =
            Self.headline + """
                   0: 0100007F:18EB 00000000:0000 0A 00000000:00000000 00:00000000 00000000   999        0 21001 1 ffff88800 100 0 0 10 0
                   1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 21002 1 ffff88801 100 0 0 10 0
                   2: 0100007F:18EB 0100007F:D431 01 00000000:00000000 00:00000000 00000000   999        0 21003 1 ffff88802 20 4 0 10 -1
                   3: 0100007F:9C40 0100007F:18EB 06 00000000:00000000 03:00000A2C 00000000     0        0 0 3 ffff88803

                """
        let sockets = listeningTCPSockets(parsing: Array(text.utf8))
        #expect(sockets.map(\.port) == [6379, 22])
        #expect(sockets.map(\.inode) == [21001, 21002])
        #expect(sockets.map(\.address.description) == ["127.0.0.1", "0.0.0.0"])
    }

    @Test func listeningIPv6SocketsHaveTheirAddress() {
        let text = """
              sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
               0: 00000000000000000000000001000000:18EB 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000   999        0 31001 1 ffff 100 0 0 10 0
               1: 000080FE00000000FF565002BCFAADDE:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 31002 1 ffff 100 0 0 10 0

            """
        let sockets = listeningTCPSockets(parsing: Array(text.utf8))
        #expect(sockets.map(\.port) == [6379, 80])
        #expect(sockets.map(\.address.description) == ["::1", "fe80::250:56ff:dead:fabc"])
    }

    @Test(arguments: ["0: 0100007F:18EB 0:0 0A 0:0 0:0 0 999 0", "0: 0100007:18EB 0:0 0A 0:0 0:0 0 999 0 5", "0: 0100007F 0:0 0A a b c d e 5", "x", ""])
    func aBrokenLineOfTheTableIsSkipped(_ line: String) {
        let good = "   1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 21002 1\n"
        #expect(listeningTCPSockets(parsing: Array((line + "\n" + good).utf8)).map(\.port) == [22])
    }

    @Test func listeningUnixSocketsKeepBlanksInTheirPath() {
        let text = """
            Num       RefCount Protocol Flags    Type St Inode Path
            ffff888003e0c000: 00000002 00000000 00010000 0001 01 41001 /run/my redis/redis.sock
            ffff888003e0c440: 00000003 00000000 00000000 0001 03 41002 /run/my redis/redis.sock
            ffff888003e0c880: 00000002 00000000 00010000 0001 01 41003 @abstract
            ffff888003e0ccc0: 00000003 00000000 00000000 0001 03 41004
            ffff888003e0d000: 00000002 00000000 00010000 0001 01 41005

            """
        let sockets = listeningUnixSockets(parsing: Array(text.utf8))
        #expect(
            sockets == [
                ListeningUnixSocket(path: "/run/my redis/redis.sock", inode: 41001), ListeningUnixSocket(path: "@abstract", inode: 41003),
            ])
    }

    @Test func localAddressesAreTheHostLeavesOfTheTrie() {
        let text = """
            Main:
              +-- 0.0.0.0/0 3 0 5
                 |-- 0.0.0.0
                    /0 universe UNICAST
                 +-- 172.17.0.0/16 2 0 2
                    |-- 172.17.0.0
                       /16 link UNICAST
                    |-- 172.17.0.2
                       /32 host LOCAL
                    |-- 172.17.255.255
                       /32 link BROADCAST
            Local:
                 |-- 127.0.0.0
                    /8 host LOCAL
                    |-- 127.0.0.1
                       /32 host LOCAL

            """
        #expect(localIPv4Addresses(parsingFIBTrie: Array(text.utf8)).map(\.description).sorted() == ["127.0.0.1", "172.17.0.2"])
        let interfaces = "00000000000000000000000000000001 01 80 10 80       lo\nfd000000000000000000000000000002 02 40 20 80     eth0\nzz\n"
        #expect(localIPv6Addresses(parsingInterfaces: Array(interfaces.utf8)).map(\.description).sorted() == ["::1", "fd00::2"])
    }

    @Test(arguments: ["172.17.0.2", "::1", "::", "fd00::2", "1:2:3:4:5:6:7:8", "fe80::1:0:0:1", "1::"])
    func anAddressReadsAsItIsWritten(_ text: String) {
        #expect(IPAddress(text)?.description == text)
    }

    @Test(arguments: ["", "1.2.3", "1.2.3.4.5", "256.1.1.1", "1:2", "::1::", "x::1", "12345::", "1:2:3:4:5:6:7:8:9", "1.2.3."])
    func whatIsNoAddressIsRefused(_ text: String) {
        #expect(IPAddress(text) == nil)
    }
}
