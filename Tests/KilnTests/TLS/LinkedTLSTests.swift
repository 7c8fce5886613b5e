import Foundation
import Glibc
import KilnTargets
import TestSupport
import Testing

extension KernelTests {
    /// OpenSSL in a program itself, and opened late.
    @Suite(.enabled(if: PythonClient.isInstalled && Program.canCompile, "python3 with its ssl module, or cc, is not installed"))
    struct LinkedTLSTests {
        /// A server over TLS that answers every request of one word.
        private static func server(_ keys: TLSKeys, _ options: [String] = [], linked: [String], strips: Bool = false) throws -> Program {
            let program = try Program(tlsServer, ["-O2"] + options, linked: linked) { directory in
                if strips, try Child("strip", [directory + "/program"]).wait() != 0 { throw TestFailure("strip failed") }
                return [directory + "/program", "\(keys.port)", keys.certificate, keys.key, directory + "/go"]
            }
            guard eventually({ (try? Connection(port: keys.port)) != nil }) else { throw TestFailure("the server in C did not start") }
            return program
        }

        private static func ask(_ keys: TLSKeys, times count: Int) throws {
            try PythonClient(
                port: keys.port, authority: keys.certificate,
                """
                client = connect()
                for _ in range(\(count)):
                    client.sendall(request("PING"))
                    read_until(client, b"+PONG\\r\\n")
                """
            ).finish()
        }

        /// What kiln counts, and what it says.
        private static func watched(_ program: Program, during load: () throws -> Void) throws -> (Session, said: String) {
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let kiln = try KilnRun(["-p", "\(program.pid)", "-F", "0", "-o", directory + "/session"])
            guard kiln.attached() else { throw TestFailure("kiln did not attach: \(kiln.errorText)") }
            try load()
            kiln.stop()
            return (try Session(directory: directory + "/session"), kiln.errorText)
        }

        private static let archives = ["-l:libssl.a", "-l:libcrypto.a", "-lpthread"]

        @Test(arguments: [["-no-pie"], ["-pie", "-fPIE"]])
        func aProgramThatHoldsOpenSSLIsFollowedByItsSymbols(options: [String]) throws {
            let keys = try TLSKeys()
            let server = try Self.server(keys, options, linked: Self.archives)
            defer { server.signal(SIGKILL) }
            let (session, said) = try Self.watched(server) { try Self.ask(keys, times: 503) }
            #expect(session.counts == ["PING": 503], "\(said)")
            #expect(session.record.commands["PING"]?.phases["service"]?.count == 503)
            #expect(session.record.tlsLibrary == "its program")
            #expect(session.record.lost.isEmpty)
        }

        @Test func withoutSymbolsItsConnectionsAreCountedAsUnseen() throws {
            let keys = try TLSKeys()
            let server = try Self.server(keys, linked: Self.archives, strips: true)
            defer { server.signal(SIGKILL) }
            let (session, said) = try Self.watched(server) { for _ in 0..<3 { try Self.ask(keys, times: 11) } }
            #expect(session.record.lost == ["tls_connections": 3])
            #expect(said.contains("pid \(server.pid) has no OpenSSL library mapped"), "\(said)")
        }

        @Test func aLibraryThatIsOpenedLateIsNamed() throws {
            let keys = try TLSKeys()
            let server = try Self.server(keys, ["-DOPENS_LATE"], linked: [])
            defer { server.signal(SIGKILL) }
            let (session, said) = try Self.watched(server) {
                try Data().write(to: URL(fileURLWithPath: server.directory + "/go"))
                for _ in 0..<3 { try Self.ask(keys, times: 11) }
            }
            #expect(session.record.lost == ["tls_connections": 3])
            #expect(said.contains("can't follow the encrypted connections of pid \(server.pid): it has opened libssl.so"), "\(said)")
        }
    }
}

/// Arguments: port, certificate, key, a file. OPENS_LATE: libssl is opened when the file is there, and not linked.
private let tlsServer = """
    #include <arpa/inet.h>
    #include <dlfcn.h>
    #include <stdlib.h>
    #include <string.h>
    #include <unistd.h>
    #include <openssl/ssl.h>

    #ifdef OPENS_LATE
    #define NAMED(function) ((__typeof__(&function))dlsym(library, #function))
    static void *library;
    #else
    #define NAMED(function) function
    #endif

    int main(int argc, char **argv)
    {
    	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    	int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    	SSL_CTX *context = NULL;

    	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    	if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 8))
    		return 1;
    	for (;;) {
    		char request[4096];
    		int client = accept(listener, NULL, NULL), length, i;
    		SSL *ssl;

    		/* Until the file is there, connections are closed at once. */
    #ifdef OPENS_LATE
    		if (access(argv[4], F_OK)) {
    			close(client);
    			continue;
    		}
    		if (!library)
    			library = dlopen("libssl.so.3", RTLD_NOW);
    		if (!library)
    			library = dlopen("libssl.so", RTLD_NOW);
    		if (!library)
    			return 1;
    #endif
    		if (!context) {
    			context = NAMED(SSL_CTX_new)(NAMED(TLS_server_method)());
    			if (NAMED(SSL_CTX_use_certificate_file)(context, argv[2], SSL_FILETYPE_PEM) != 1 ||
    			    NAMED(SSL_CTX_use_PrivateKey_file)(context, argv[3], SSL_FILETYPE_PEM) != 1)
    				return 1;
    		}
    		ssl = NAMED(SSL_new)(context);
    		NAMED(SSL_set_fd)(ssl, client);
    		if (NAMED(SSL_accept)(ssl) == 1) {
    			while ((length = NAMED(SSL_read)(ssl, request, sizeof request)) > 0) {
    				/* A request of one word has one '*'. */
    				for (i = 0; i < length; i++)
    					if (request[i] == '*')
    						NAMED(SSL_write)(ssl, "+PONG\\r\\n", 7);
    			}
    		}
    		NAMED(SSL_free)(ssl);
    		close(client);
    	}
    }
    """
