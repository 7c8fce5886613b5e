import NIOCore
import NIOHTTP1

/// One connection: one request after the other.
final class Connection: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private enum State {
        /// No byte of a request has come.
        case idle
        /// Some of its header has.
        case header
        case body(HTTPRequestHead, length: Int)
        /// It was refused; what still comes of it is dropped.
        case refused
        case answering(HTTPRequestHead)
        /// The last response is on its way; nothing that still comes is read.
        case closing
    }

    private let connections: Connections
    private let channel: any Channel
    private var state = State.idle
    private(set) var idleSince = NIODeadline.now()
    private var timer: Scheduled<Void>?
    private var exchange: Exchange?
    private var isEnding = false
    /// Bytes of responses on their way to this client.
    private var pending = 0

    private var limits: ServerLimits { connections.limits }

    init(_ connections: Connections, _ channel: any Channel) {
        self.connections = connections
        self.channel = channel
    }

    var isIdle: Bool {
        switch state {
        case .idle, .header: pending == 0
        case .body, .refused, .answering, .closing: false
        }
    }

    func begin() { closes(after: limits.requestTime) }

    func close() { channel.close(promise: nil) }

    /// No more requests after the present one.
    func end() {
        isEnding = true
        if isIdle { close() }
    }

    func hasClosed() {
        timer?.cancel()
        connections.pending -= pending
        pending = 0
        exchange?.cancel()
        exchange = nil
    }

    func hasBytes() {
        guard case .idle = state else { return }
        state = .header
        closes(after: limits.requestTime)
    }

    /// Replaces the time after which the connection is closed.
    private func closes(after time: TimeAmount?) {
        timer?.cancel()
        timer = time.map { time in
            channel.eventLoop.assumeIsolated().scheduleTask(in: time) { self.close() }
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch (unwrapInboundIn(data), state) {
        case (.head(let head), .idle), (.head(let head), .header):
            state = .body(head, length: 0)
            if let refusal = refusal(head) { refuse(head, refusal) }
        case (.body(let bytes), .body(let head, let length)):
            let length = length + bytes.readableBytes
            state = .body(head, length: length)
            if length > limits.body { refuse(head, .line("A request has at most \(limits.body) bytes of body here, and none is read.", status: 413)) }
        case (.end, .body(let head, _)): take(head)
        default: break
        }
    }

    /// The client sends no more. Whoever has closed altogether looks the same, so nothing is recorded for it any longer; what is there already is sent.
    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard case ChannelEvent.inputClosed? = event as? ChannelEvent else { return context.fireUserInboundEventTriggered(event) }
        isEnding = true
        switch state {
        case .refused, .closing: break
        case .answering: close()
        case .idle, .header, .body: if pending == 0 { close() }
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // What can't be parsed was answered 400 by the pipeline, which then closes.
        if case .answering = state { return }
        closes(after: .seconds(1))
    }

    /// What needs no more than the header to be refused.
    private func refusal(_ head: HTTPRequestHead) -> ServerResponse? {
        let length = head.headers.reduce(head.uri.utf8.count) { $0 + $1.name.utf8.count + $1.value.utf8.count + 4 }
        if head.uri.utf8.count > limits.target { return .line("The path is longer than \(limits.target) bytes.", status: 414) }
        if length > limits.header { return .line("The header is longer than \(limits.header) bytes.", status: 431) }
        if let announced = head.headers.first(name: "content-length").flatMap({ Int($0) }), announced > limits.body {
            return .line("A request has at most \(limits.body) bytes of body here, and none is read.", status: 413)
        }
        return nil
    }

    /// Answers before the request has ended, and closes: what follows is not read.
    private func refuse(_ head: HTTPRequestHead, _ response: ServerResponse) {
        state = .refused
        write(response, to: head, closes: true)
    }

    private func take(_ head: HTTPRequestHead) {
        state = .answering(head)
        closes(after: nil)
        if let token = connections.token, !isAuthorized(head, token) {
            return answer(
                .line("Send a bearer token: Authorization: Bearer TOKEN.", status: 401, headers: [("WWW-Authenticate", "Bearer realm=\"kiln\"")]), to: head)
        }
        guard let request = ServerRequest(method: head.method == .HEAD ? .head : .get, target: head.uri) else {
            return answer(.line("The path is not well encoded.", status: 400), to: head)
        }
        guard let handler = connections.router.handler(of: request.path) else { return answer(.line("There is nothing here.", status: 404), to: head) }
        guard head.method == .GET || head.method == .HEAD else {
            return answer(.line("Only GET and HEAD are answered here.", status: 405, headers: [("Allow", "GET, HEAD")]), to: head)
        }
        let loop = channel.eventLoop
        let box = NIOLoopBound(self, eventLoop: loop)
        let exchange = Exchange { response in
            loop.execute { box.value.answer(response, to: head) }
        }
        self.exchange = exchange
        handler(request, exchange)
    }

    private func isAuthorized(_ head: HTTPRequestHead, _ token: [UInt8]) -> Bool {
        let values = head.headers["authorization"]
        guard values.count == 1, let value = values.first else { return false }
        let parts = value.split(separator: " ", maxSplits: 1)
        guard parts.count == 2, parts[0].lowercased() == "bearer" else { return false }
        return isEqualInConstantTime(Array(parts[1].drop { $0 == " " }.utf8), token)
    }

    private func answer(_ response: ServerResponse, to head: HTTPRequestHead) {
        guard case .answering = state, channel.isActive else { return }
        exchange = nil
        var response = response
        if connections.pending + response.body.count > limits.pendingResponses {
            response = .line("Too many responses wait for slow clients. Try again.", status: 503, headers: [("Retry-After", "10")])
        }
        // The next request may come while the end of this response is written.
        let closes = isEnding || !head.isKeepAlive || response.hasUnknownLength
        state = closes ? .closing : .idle
        write(response, to: head, closes: closes)
    }

    private func write(_ response: ServerResponse, to head: HTTPRequestHead, closes: Bool) {
        var headers = HTTPHeaders()
        headers.add(name: "Content-Type", value: response.type)
        if !response.hasUnknownLength { headers.add(name: "Content-Length", value: "\(response.body.count)") }
        headers.add(name: "Cache-Control", value: "no-store")
        headers.add(name: "X-Content-Type-Options", value: "nosniff")
        for (name, value) in response.headers { headers.add(name: name, value: value) }
        if closes { headers.add(name: "Connection", value: "close") } else if head.version == .http1_0 { headers.add(name: "Connection", value: "keep-alive") }
        let size = response.body.count
        pending += size
        connections.pending += size
        self.closes(after: limits.responseTime)
        // The encoder doesn't know of HEAD: without a length, a response of HTTP/1.1 would end with an empty chunk, which is a body.
        let version = response.hasUnknownLength ? .http1_0 : head.version
        channel.write(HTTPServerResponsePart.head(.init(version: version, status: .init(statusCode: response.status), headers: headers)), promise: nil)
        if head.method != .HEAD, size > 0 { channel.write(HTTPServerResponsePart.body(.byteBuffer(ByteBuffer(bytes: response.body))), promise: nil) }
        let box = NIOLoopBound(self, eventLoop: channel.eventLoop)
        channel.writeAndFlush(HTTPServerResponsePart.end(nil)).whenComplete { _ in box.value.hasWritten(size) }
    }

    private func hasWritten(_ size: Int) {
        guard channel.isActive else { return }
        pending -= size
        connections.pending -= size
        switch state {
        // Whoever still sends gets a moment to read the refusal: closing at once would reset the connection.
        case .refused: closes(after: .seconds(1))
        case .closing: close()
        case .idle where isEnding: close()
        case .idle:
            idleSince = .now()
            closes(after: limits.idleTime)
        case .header, .body, .answering: break
        }
    }
}

/// Takes as long for wrong bytes as for right ones.
func isEqualInConstantTime(_ given: [UInt8], _ wanted: [UInt8]) -> Bool {
    var difference = given.count ^ wanted.count
    for place in wanted.indices { difference |= Int((place < given.count ? given[place] : 0) ^ wanted[place]) }
    return difference == 0
}
