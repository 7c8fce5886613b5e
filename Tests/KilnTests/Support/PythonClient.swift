import Foundation
import Glibc
import TestSupport

/// Ask for INCR on each of some connections without a pause, until told to `go` and then so often that a boundary must have been proven; and then,
/// still without a pause, 101 times for `pipeline` GETs of a key that isn't there. "ready" once all have begun.
func busyConnections(_ connections: Int, pipeline: Int) -> String {
    """
    import threading
    began, failed = threading.Semaphore(0), []

    def ask(client, *words):
        client.sendall(request(*words) * \(pipeline))
        left = \(pipeline)
        while left:
            piece = client.recv(65536)
            if not piece: sys.exit("the server closed the connection")
            left -= piece.count(b"\\n")

    def work():
        try:
            client = connect()
            ask(client, "INCR", "n")
            began.release()
            going_on = 20
            while going_on:
                for _ in range(20): ask(client, "INCR", "n")
                if os.path.exists(directory + "/go"): going_on -= 1
            for _ in range(101): ask(client, "GET", "none")
        except BaseException as error:
            failed.append(repr(error))
            began.release()

    threads = [threading.Thread(target=work) for _ in range(\(connections))]
    for thread in threads: thread.start()
    for thread in threads: began.acquire()
    tell("ready")
    for thread in threads: thread.join()
    if failed: sys.exit(failed[0])
    """
}

/// A client in Python, with the ssl module where `authority` is given: what it does is the test's own script, over the functions
/// that stand before it.
final class PythonClient {
    private let child: Child
    private let directory = temporaryDirectory()

    static let isInstalled = (try? Child("/usr/bin/python3", ["-c", "import ssl"]).wait()) == 0

    private static let functions = """
        import os, random, socket, ssl, sys, time
        port, directory, authority = int(sys.argv[1]), sys.argv[2], sys.argv[3]
        random.seed(7)
        context = None
        if authority:
            context = ssl.create_default_context(cafile=authority)
            context.check_hostname = False

        def request(*words):
            words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
            return b"*%d\\r\\n" % len(words) + b"".join(b"$%d\\r\\n%s\\r\\n" % (len(word), word) for word in words)

        def connect(session=None):
            plain = socket.create_connection(("127.0.0.1", port), timeout=20)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return context.wrap_socket(plain, session=session) if context else plain

        def read_until(client, end):
            received = b""
            while not received.endswith(end):
                piece = client.recv(65536)
                if not piece: sys.exit("the server closed the connection")
                received += piece
            return received

        def settle(client):
            word = b"settled-%d" % random.getrandbits(60)
            client.sendall(request("ECHO", word))
            read_until(client, word + b"\\r\\n")

        def in_pieces(client, stream, longest):
            while stream:
                piece = stream[:random.randint(1, longest)]
                client.sendall(piece)
                stream = stream[len(piece):]

        def wait_for(name):
            while not os.path.exists(directory + "/" + name): time.sleep(0.01)

        def tell(name, text=""):
            with open(directory + "/" + name + ".partial", "w") as file: file.write(str(text))
            os.rename(directory + "/" + name + ".partial", directory + "/" + name)

        """

    /// `authority`: the file with the certificate to trust. `interpreter`: for packages of another Python than the system's.
    init(port: UInt16, authority: String? = nil, interpreter: String = "/usr/bin/python3", _ script: String) throws {
        let file = directory + "/client.py"
        try (Self.functions + script).write(toFile: file, atomically: true, encoding: .utf8)
        child = try Child(interpreter, [file, "\(port)", directory, authority ?? ""], errors: directory + "/errors")
    }

    deinit { try? FileManager.default.removeItem(atPath: directory) }

    var pid: Int32 { child.pid }

    /// What it does after `wait_for(name)` may begin.
    func allow(_ name: String) throws { try Data().write(to: URL(fileURLWithPath: directory + "/" + name)) }

    /// Wait until it has told something, and read it.
    func told(_ name: String) throws -> String {
        let file = directory + "/" + name
        _ = eventually { access(file, F_OK) == 0 || !child.isRunning }
        guard let text = try? String(contentsOfFile: file, encoding: .utf8) else { throw failure("told no \(name)") }
        return text
    }

    /// Wait for its end, which has to be a good one.
    func finish() throws {
        let status = child.wait()
        guard status == 0 else { throw failure("ended with \(status)") }
    }

    private func failure(_ what: String) -> TestFailure {
        TestFailure("the client in Python \(what): \((try? String(contentsOfFile: directory + "/errors", encoding: .utf8)) ?? "")")
    }
}
