import Foundation
import TestSupport

/// An HTTP server of a test. It keeps each request, and answers the first with the first of its answers and so on; the last one is for all that follow.
final class ProfileServer {
    let directory = temporaryDirectory()
    let port: Int
    private let child: Child

    static let canRun = program("python3") != nil && program("curl") != nil && program("openssl") != nil

    /// - Parameters:
    ///   - answers: `200`, `partial`, `429:1` (with Retry-After), `503`, `garbage`, `half` (of a head), `cut` (a body), `endless`, `nothing`, `hostile`,
    ///     `redirect:URL`.
    ///   - certificate: With its key, in PEM: the server speaks TLS.
    init(_ answers: [String], certificate: (file: String, key: String)? = nil) throws {
        try Self.script.write(toFile: directory + "/server.py", atomically: true, encoding: .utf8)
        let place = directory
        child = try Child(
            "python3", [place + "/server.py", place, answers.joined(separator: " "), certificate?.file ?? "", certificate?.key ?? ""], errors: place + "/err")
        var port: Int?
        _ = eventually {
            port = (try? String(contentsOfFile: place + "/port", encoding: .utf8)).flatMap(Int.init)
            return port != nil
        }
        guard let port else { throw TestFailure("the server did not start: \((try? String(contentsOfFile: place + "/err", encoding: .utf8)) ?? "")") }
        self.port = port
    }

    deinit { try? FileManager.default.removeItem(atPath: directory) }

    struct Request: Decodable {
        let path: String
        /// Names in small letters.
        let headers: [String: String]
        let time: Double
        var body: [UInt8]?

        var parameters: [String: String] {
            let items = URLComponents(string: path)?.queryItems ?? []
            return Dictionary(items.map { ($0.name, $0.value ?? "") }, uniquingKeysWith: { first, _ in first })
        }
    }

    /// In the order in which they came.
    func requests() throws -> [Request] {
        var list: [Request] = []
        while let head = FileManager.default.contents(atPath: "\(directory)/\(list.count).head") {
            var request = try JSONDecoder().decode(Request.self, from: head)
            request.body = FileManager.default.contents(atPath: "\(directory)/\(list.count).body").map { Array($0) }
            list.append(request)
        }
        return list
    }

    private static let script = """
        import http.server, json, os, ssl, sys, threading, time
        place, answers, certificate, key = sys.argv[1], sys.argv[2].split(), sys.argv[3], sys.argv[4]
        lock, count = threading.Lock(), 0

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments):
                pass

            def do_POST(self):
                global count
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                with lock:
                    number, count = count, count + 1
                open(f"{place}/{number}.body", "wb").write(body)
                head = {"path": self.path, "headers": {k.lower(): v for k, v in self.headers.items()}, "time": time.time()}
                open(f"{place}/{number}.partial", "w").write(json.dumps(head))
                os.rename(f"{place}/{number}.partial", f"{place}/{number}.head")
                kind, _, value = answers[min(number, len(answers) - 1)].partition(":")
                self.close_connection = True
                getattr(self, "answer_" + kind, lambda value: self.answer(int(kind), b"busy", {"Retry-After": value} if value else {}))(value)

            def answer(self, status, body=b"", headers={}):
                self.send_response(status)
                for name, text in {"Content-Length": str(len(body)), "Connection": "close", **headers}.items():
                    self.send_header(name, text)
                self.end_headers()
                self.wfile.write(body)

            def answer_200(self, value):
                self.answer(200)

            def answer_partial(self, value):
                self.answer(200, b"\\x0a\\x09\\x08\\x02\\x12\\x05too\\x1bo", {"Content-Type": "application/x-protobuf"})

            def answer_garbage(self, value):
                self.wfile.write(os.urandom(1000).replace(b"HTTP", b""))

            def answer_half(self, value):
                self.wfile.write(b"HTTP/1.1 200 OK\\r\\nContent-Le")

            def answer_cut(self, value):
                self.wfile.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 100\\r\\n\\r\\n12345")

            def answer_endless(self, value):
                self.wfile.write(b"HTTP/1.1 400 Bad\\r\\n\\r\\n")
                try:
                    while True:
                        self.wfile.write(b"x" * 65536)
                except OSError:
                    pass

            def answer_nothing(self, value):
                time.sleep(120)

            def answer_hostile(self, value):
                self.answer(400, b"\\x1b[2J\\x1b]0;owned\\x07\\nkiln: pushed\\n" + b"z" * 100000)

            def answer_redirect(self, value):
                self.answer(307, b"", {"Location": value})

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

        server = Server(("127.0.0.1", 0), Handler)
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, key)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        open(place + "/port.partial", "w").write(str(server.server_port))
        os.rename(place + "/port.partial", place + "/port")
        server.serve_forever()
        """
}
