import Foundation
import Glibc
import KilnModel
import TestSupport
import Testing

extension KernelTests {
    /// Programs as they are found on hosts, watched from their own side.
    @Suite struct ClientProgramTests {
        /// Watch a program that is held until kiln is attached, to its end.
        private static func watched(_ command: [String], hook: String) throws -> Session {
            let client = try Child.held(command)
            return try Session.recording(pid: client.pid, ["--client", "--hook", hook]) {
                kill(client.pid, SIGCONT)
                guard client.wait() == 0 else { throw TestFailure("\(command[0]) failed") }
            }
        }

        @Test(arguments: Capability.hooks, [[], ["-3"]])
        func redisCliIsCountedAndTimed(hook: String, protocolVersion: [String]) throws {
            let server = try RedisServer()
            let cli = ["redis-cli", "-p", "\(server.port)"] + protocolVersion
            let counted = try Self.watched(cli + ["-r", "1009", "INCR", "n"], hook: hook)
            // In RESP3 it says HELLO 3 first.
            #expect(counted.counts == ["INCR": 1009].merging(protocolVersion.isEmpty ? [:] : ["HELLO": 1]) { $1 })
            #expect(counted.record.commands["INCR"]?.phases["total"]?.count == 1009)
            #expect(counted.record.lost.isEmpty)
            let start = DispatchTime.now().uptimeNanoseconds
            let slept = try Self.watched(cli + ["-r", "9", "DEBUG", "SLEEP", "0.05"], hook: hook)
            #expect(slept.counts["DEBUG"] == 9)
            // redis-cli doesn't tell what it saw, but five of nine took the median or longer.
            try slept.expectSleep(of: 50e6, "DEBUG", slowest: Double(DispatchTime.now().uptimeNanoseconds - start) / 5)
            #expect(try server.commandStatistics()["INCR"] == 1009)
        }

        /// Its sockets don't block; goroutines wait in epoll and go on on whatever thread is free.
        @Test(.enabled(if: Program.Language.go.canCompile, "go (golang-go) is not installed"), arguments: Capability.hooks)
        func aGoProgramIsCountedAndTimed(hook: String) throws {
            let server = try RedisServer()
            let program = try Program(goClient, [], in: .go) { [$0 + "/program", "\(server.port)", $0] }
            let seen = program.directory + "/seen"
            let session = try Session.recording(pid: program.pid, ["--client", "--hook", hook]) {
                try Data().write(to: URL(fileURLWithPath: program.directory + "/go"))
                guard program.wait() == 0 else { throw TestFailure("the client in Go failed") }
            }
            #expect(session.counts == ["INCR": 8 * 503, "ECHO": 8 * 31 * 16, "DEBUG": 9])
            #expect(session.record.commands["INCR"]?.phases["total"]?.count == 8 * 503)
            #expect(session.record.commands["ECHO"]?.phases["total"]?.count == 8 * 31 * 16)
            #expect(session.record.lost.isEmpty)
            let slowest = Double(try String(contentsOfFile: seen, encoding: .utf8)) ?? 0
            try session.expectSleep(of: 50e6, "DEBUG", slowest: slowest)
            var counted = try server.commandStatistics()
            counted["PING"] = nil
            #expect(counted == session.counts)
        }

        @Test(.enabled(if: PythonClient.isInstalled, "python3 is not installed"))
        func runningProgramsAreFoundByTheirName() throws {
            let server = try RedisServer()
            let name = "asks-\(UInt32.random(in: 0...UInt32.max))", other = "asks-\(UInt32.random(in: 0...UInt32.max))"
            let clients = try [(name, 101), (name, 307), (other, 53)].map { name, count in
                try PythonClient(
                    port: server.port,
                    """
                    with open("/proc/self/comm", "w") as comm: comm.write("\(name)")
                    tell("ready")
                    wait_for("go")
                    client = connect()
                    for _ in range(\(count)):
                        client.sendall(request("INCR", "n"))
                        read_until(client, b"\\r\\n")
                    """)
            }
            for client in clients { _ = try client.told("ready") }
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let kiln = try KilnRun(["--client", "--comm", name, "-F", "0", "-o", directory + "/session"])
            guard kiln.attached() else { throw TestFailure("kiln did not attach: \(kiln.errorText)") }
            for client in clients { try client.allow("go") }
            for client in clients { try client.finish() }
            _ = kiln.wait()
            let sessions = try FileManager.default.contentsOfDirectory(atPath: directory + "/session").map {
                try Session(directory: "\(directory)/session/\($0)")
            }
            let counts = Dictionary(uniqueKeysWithValues: sessions.map { ($0.record.target.pid, $0.counts) })
            #expect(counts == [clients[0].pid: ["INCR": 101], clients[1].pid: ["INCR": 307]])
            #expect(sessions.allSatisfy { $0.record.target.comm == name && $0.record.lost.isEmpty })
        }
    }
}

private extension Session {
    /// The p50 of a command that sleeps at the server: the sleep within 3.2 % and the round trip, which is in what the client saw.
    func expectSleep(of sleep: Double, _ command: String, slowest seen: Double) throws {
        let p50 = Double(try #require(record.commands[command]?.phases["total"]?.p50Ns))
        #expect(p50 > sleep * (1 - 0.032) && p50 < max(sleep, seen) * (1 + 0.032), "p50 \(p50) ns, seen \(seen)")
    }
}

private let goClient = """
    package main

    import (
    	"bufio"
    	"fmt"
    	"net"
    	"os"
    	"sort"
    	"strings"
    	"sync"
    	"time"
    )

    func request(words ...string) string {
    	text := fmt.Sprintf("*%d\\r\\n", len(words))
    	for _, word := range words {
    		text += fmt.Sprintf("$%d\\r\\n%s\\r\\n", len(word), word)
    	}
    	return text
    }

    func check(err error) {
    	if err != nil {
    		panic(err)
    	}
    }

    type client struct {
    	net.Conn
    	replies *bufio.Reader
    }

    func connect() client {
    	connection, err := net.Dial("tcp", "127.0.0.1:"+os.Args[1])
    	check(err)
    	return client{connection, bufio.NewReader(connection)}
    }

    // Send requests, and read so many lines.
    func (c client) ask(text string, lines int) {
    	_, err := c.Write([]byte(text))
    	check(err)
    	for ; lines > 0; lines-- {
    		_, err = c.replies.ReadString('\\n')
    		check(err)
    	}
    }

    func main() {
    	for {
    		if _, err := os.Stat(os.Args[2] + "/go"); err == nil {
    			break
    		}
    		time.Sleep(10 * time.Millisecond)
    	}
    	var group sync.WaitGroup
    	for i := 0; i < 8; i++ {
    		group.Add(1)
    		go func() {
    			defer group.Done()
    			c := connect()
    			for n := 0; n < 503; n++ {
    				c.ask(request("INCR", "n"), 1)
    			}
    			for n := 0; n < 31; n++ {
    				c.ask(strings.Repeat(request("ECHO", "word"), 16), 32)
    			}
    			c.Close()
    		}()
    	}
    	group.Wait()
    	c := connect()
    	var seen []int64
    	for n := 0; n < 9; n++ {
    		start := time.Now()
    		c.ask(request("DEBUG", "SLEEP", "0.05"), 1)
    		seen = append(seen, time.Since(start).Nanoseconds())
    	}
    	sort.Slice(seen, func(a, b int) bool { return seen[a] < seen[b] })
    	check(os.WriteFile(os.Args[2]+"/seen", []byte(fmt.Sprint(seen[4])), 0644))
    }
    """
