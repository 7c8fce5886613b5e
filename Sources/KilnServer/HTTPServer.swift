import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization
import SystemPackage

/// What a server takes from its clients.
public struct ServerLimits: Sendable {
    /// Connections at a time. For one more, the one that has had no request for the longest time is closed; if all have requests, the new one.
    public var connections = 256
    /// From the accept, or the first byte of a later request, to the end of the request.
    public var requestTime = TimeAmount.seconds(10)
    /// Between a response and the next request.
    public var idleTime = TimeAmount.seconds(120)
    /// Until a client has taken its response.
    public var responseTime = TimeAmount.seconds(60)
    /// Bytes.
    public var header = 16 << 10, target = 4 << 10, body = 64 << 10
    /// Bytes of responses that no client has taken yet, of all connections.
    public var pendingResponses = 64 << 20

    public init() {}
}

/// An HTTP/1.1 server on one thread of its own. It answers GET and HEAD, reads no body, and knows nothing of files.
public final class HTTPServer: Sendable {
    private let group: MultiThreadedEventLoopGroup
    private let channel: any Channel
    private let connections: Connections
    /// Where it listens; the port is the kernel's choice if 0 was asked for.
    public let port: Int

    /// Listens, and answers from now on. The thread has the signal mask of the caller.
    ///
    /// - Parameters:
    ///   - host: An address or a name.
    ///   - token: What clients have to send as `Authorization: Bearer`; nil: nothing.
    /// - Throws: `Errno`, or an error of swift-nio, if it can't listen there.
    public init(host: String, port: Int, token: [UInt8]? = nil, limits: ServerLimits = ServerLimits(), router: Router) throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let connections = Connections(limits: limits, router: router, token: token)
        do {
            channel = try ServerBootstrap(group: group)
                .serverChannelOption(.backlog, value: 128)
                .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
                .childChannelOption(.socketOption(.tcp_nodelay), value: 1)
                .childChannelOption(.maxMessagesPerRead, value: 1)
                .childChannelOption(.allowRemoteHalfClosure, value: true)
                .childChannelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture { try connections.begin(channel) }
                }
                .bind(host: host, port: port).wait()
        } catch {
            try? group.syncShutdownGracefully()
            throw (error as? IOError).map { Errno(rawValue: $0.errnoCode) } ?? error
        }
        self.group = group
        self.connections = connections
        self.port = channel.localAddress?.port ?? port
    }

    /// Takes no more connections, waits up to a second for answers that are on their way, and ends.
    public func stop() {
        try? channel.close().wait()
        let isIdle = channel.eventLoop.makePromise(of: Void.self)
        channel.eventLoop.execute { self.connections.end(isIdle) }
        channel.eventLoop.scheduleTask(in: .seconds(1)) { isIdle.succeed(()) }
        try? isIdle.futureResult.wait()
        try? group.syncShutdownGracefully()
    }

    /// Open connections now.
    public var connectionCount: Int { connections.count.load(ordering: .relaxed) }
    /// Connections that were closed because there were too many.
    public var refusedCount: Int { connections.refused.load(ordering: .relaxed) }
}

/// The connections of a server. All but the counters is used on the event loop only.
final class Connections: @unchecked Sendable {
    let limits: ServerLimits
    let router: Router
    let token: [UInt8]?
    let count = Atomic(0), refused = Atomic(0)
    /// Bytes of responses on their way.
    var pending = 0
    private var open: [ObjectIdentifier: Connection] = [:]
    private var whenIdle: EventLoopPromise<Void>?

    init(limits: ServerLimits, router: Router, token: [UInt8]?) {
        self.limits = limits
        self.router = router
        self.token = token
    }

    func begin(_ channel: any Channel) throws {
        if open.count >= limits.connections {
            refused.add(1, ordering: .relaxed)
            guard let idle = open.values.filter(\.isIdle).min(by: { $0.idleSince < $1.idleSince }) else { throw ChannelError.inappropriateOperationForState }
            // Its place is free at once: the channel says only later that it is closed, and more may have been accepted by then.
            open[ObjectIdentifier(idle)] = nil
            idle.close()
        }
        let connection = Connection(self, channel)
        open[ObjectIdentifier(connection)] = connection
        count.store(open.count, ordering: .relaxed)
        let box = NIOLoopBound(connection, eventLoop: channel.eventLoop)
        channel.closeFuture.whenComplete { _ in
            box.value.hasClosed()
            self.open[ObjectIdentifier(box.value)] = nil
            self.count.store(self.open.count, ordering: .relaxed)
            self.settle()
        }
        try channel.pipeline.syncOperations.addHandler(FirstBytes(connection))
        try channel.pipeline.syncOperations.configureHTTPServerPipeline(withPipeliningAssistance: true, withErrorHandling: true)
        try channel.pipeline.syncOperations.addHandler(connection)
        connection.begin()
    }

    /// Closes what is idle, and the rest when it has been answered.
    func end(_ isIdle: EventLoopPromise<Void>) {
        whenIdle = isIdle
        for connection in open.values { connection.end() }
        settle()
    }

    private func settle() { if open.isEmpty { whenIdle?.succeed(()) } }
}

/// Tells a connection when a request begins: behind it, the parser waits for the end of the header.
private final class FirstBytes: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer

    private let connection: Connection

    init(_ connection: Connection) { self.connection = connection }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        connection.hasBytes()
        context.fireChannelRead(data)
    }
}
