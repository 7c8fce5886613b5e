import Glibc
import KilnBPF
import KilnModel

/// The compiled BPF programs of a protocol, and the commands that its servers know.
public struct RequestObjects: Sendable {
    public let name: String
    let server: @Sendable () -> kiln_object
    /// Nil: this protocol's clients can't be watched, or its requests not traced.
    let client: (@Sendable () -> kiln_object)?
    let trace: (@Sendable () -> kiln_object)?
    let commands: @Sendable () -> [kiln_listed_command]

    package init(
        name: String, server: @escaping @Sendable () -> kiln_object, client: (@Sendable () -> kiln_object)? = nil,
        trace: (@Sendable () -> kiln_object)? = nil, commands: @escaping @Sendable () -> [kiln_listed_command] = { [] }
    ) {
        self.name = name
        self.server = server
        self.client = client
        self.trace = trace
        self.commands = commands
    }

    public static let redis = RequestObjects(
        name: "redis", server: { kiln_redis_object() }, client: { kiln_client_object() }, trace: { kiln_trace_object() },
        commands: { (0..<kiln_listed_command_count()).map { kiln_listed_command($0) } }
    )

    func open(_ side: Side, tracing: Bool) throws(KernelError) -> BPFObject {
        let (made, called) =
            switch (side, tracing) {
            case (.client, _): (client, "client")
            case (.server, true): (trace, "trace")
            case (.server, false): (server, name)
            }
        guard let made else { throw KernelError("find the \(called) programs of the protocol \(name)", code: ENOENT) }
        return try BPFObject(made(), name: called)
    }
}
