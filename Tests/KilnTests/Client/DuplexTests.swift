import Foundation
import Glibc
import TestSupport
import Testing

extension KernelTests {
    /// A program that sends requests on one thread and receives their replies on another, all on one connection. Requests and replies are
    /// cut at every offset, so that both directions change the connection's state in the kernel at once, on two CPUs.
    @Suite struct DuplexTests {
        private static let count = load(200_003)

        /// Arguments: the port, the number of requests, how many may be in flight.
        private static let program = """
            #include <arpa/inet.h>
            #include <netinet/tcp.h>
            #include <pthread.h>
            #include <stdlib.h>
            #include <string.h>
            #include <sys/socket.h>

            static const char request[] = "*3\\r\\n$3\\r\\nSET\\r\\n$3\\r\\nkey\\r\\n$16\\r\\n0123456789abcdef\\r\\n";
            enum { PIECE = 37, LENGTH = sizeof request - 1 };
            static int connection;
            static long requests;
            static _Atomic long received;

            static void *receive(void *unused)
            {
                char bytes[3];
                ssize_t got;

                while (received < requests * 5 && (got = recv(connection, bytes, sizeof bytes, 0)) > 0)
                    received += got;
                if (received != requests * 5)
                    exit(3);
                return unused;
            }

            int main(int count, char **words)
            {
                struct sockaddr_in server = { .sin_family = AF_INET, .sin_port = htons(atoi(words[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
                int yes = 1, window = atoi(words[3]);
                char twice[2 * LENGTH];
                pthread_t thread;
                long sent = 0;

                requests = atol(words[2]);
                memcpy(twice, request, LENGTH);
                memcpy(twice + LENGTH, request, LENGTH);
                connection = socket(AF_INET, SOCK_STREAM, 0);
                if (connect(connection, (void *)&server, sizeof server))
                    return 1;
                setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
                pthread_create(&thread, 0, receive, 0);
                while (sent < requests * LENGTH) {
                    long left = requests * LENGTH - sent;
                    ssize_t now;

                    while (sent / LENGTH - received / 5 > window)
                        ;
                    now = send(connection, twice + sent % LENGTH, left < PIECE ? left : PIECE, 0);
                    if (now <= 0)
                        return 2;
                    sent += now;
                }
                return pthread_join(thread, 0);
            }
            """

        /// The program stands still until it gets SIGCONT.
        private static func prepared(_ server: RedisServer, window: Int) throws -> Program {
            let client = try Program(program, ["-O2", "-pthread"]) { directory in
                ["sh", "-c", "kill -STOP $$; exec \"$@\"", "sh", directory + "/program", "\(server.port)", "\(count)", "\(window)"]
            }
            guard eventually({ (try? String(contentsOfFile: "/proc/\(client.pid)/stat", encoding: .utf8))?.contains(") T ") == true })
            else { throw TestFailure("the shell did not stop") }
            return client
        }

        private static func run(_ client: Program) throws {
            client.signal(SIGCONT)
            guard client.wait() == 0 else { throw TestFailure("the client failed") }
        }

        /// A latency may be lost, where a reply is received before the send that it answers has returned; a request never.
        @Test(.enabled(if: Program.canCompile, "no C compiler"), arguments: Capability.hooks, [15, 100])
        func aClientThatSendsAndReceivesAtOnceLosesNoRequest(hook: String, window: Int) throws {
            let server = try RedisServer()
            let client = try Self.prepared(server, window: window)
            let session = try Session.recording(pid: client.pid, ["--client", "--hook", hook]) { try Self.run(client) }
            #expect(session.counts == ["SET": Self.count])
            #expect(try server.commandStatistics()["SET"] == Self.count)
            #expect(Set(session.record.lost.keys).isSubset(of: ["unpaired_connections", "untimed_commands"]), "\(session.record.lost)")
        }

        /// Threads of the server take turns with a connection: nothing is lost, and every request is timed.
        @Test(.enabled(if: Program.canCompile, "no C compiler"), arguments: Capability.hooks, [[], ["--io-threads", "4", "--io-threads-do-reads", "yes"]])
        func aServerThatIsSentToWhileItSendsTimesEveryRequest(hook: String, threads: [String]) throws {
            let server = try RedisServer(threads)
            let client = try Self.prepared(server, window: 15)
            let session = try Session.recording(pid: server.pid, ["--hook", hook]) { try Self.run(client) }
            #expect(session.counts == ["SET": Self.count])
            #expect(session.record.lost.isEmpty)
            #expect(session.record.commands["SET"]?.phases["service"]?.count == Self.count)
        }
    }
}
