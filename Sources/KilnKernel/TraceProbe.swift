import CLibbpf
import Glibc
import KilnBPF
import KilnModel

/// Tells of single requests while it lives.
public struct TraceProbe: ~Copyable {
    private var commands: CommandProbe
    private let ring: TraceRing

    public var hook: CommandHook { commands.hook }
    public var attachedAt: Nanoseconds { commands.attachedAt }
    public var refusedPreemptionOff: KernelError? { commands.refusedPreemptionOff }

    /// As `CommandProbe.attach`.
    public static func attach(
        watching watched: WatchedProcesses, forced: CommandHook?, filter: TraceFilter, tls libraries: [TLSLibrary],
        openSockets: () throws -> [UInt64], refused: (CommandHook, KernelError) -> Void, refusedTLS: (TLSLibrary, KernelError) -> Void
    ) throws -> TraceProbe {
        try TraceProbe(try CommandProbe.attach(
            watching: watched, forced: forced, trace: filter, tls: libraries, openSockets: openSockets, refused: refused,
            refusedTLS: refusedTLS
        ), requestBytes: filter.requestBytes)
    }

    private init(_ commands: consuming CommandProbe, requestBytes: Int) throws(KernelError) {
        ring = try TraceRing(map: try commands.object.map("trace_ring"), names: commands.ids, requestBytes: requestBytes)
        self.commands = commands
    }

    /// Take off the ring what is there, `batch` requests and the rest of a pipeline at most: a server may be faster than whoever reads. To
    /// be called several times a second.
    public func drain() throws(KernelError) -> [TracedRequest] { try ring.drain() }

    public static let batch = 8192

    public func loadedPrograms() -> [LoadedProgram] { commands.loadedPrograms() }

    /// Nothing more gets onto the ring.
    public mutating func stop() { commands.stop() }

    /// The cumulative numbers, as of any session on commands.
    public func read(into snapshot: inout Snapshot) throws(KernelError) { try commands.read(into: &snapshot) }
}

/// The reading end of `trace_ring`.
private final class TraceRing {
    private var ring: OpaquePointer?
    private let names: BPFMap
    private let requestBytes: Int
    /// Rows are given to names once and for all.
    private var nameOfRow: [UInt32: CommandName] = [:]
    private var taken: [TracedRequest] = []
    private var rows: [UInt32] = []

    /// `requestBytes`: at most so many are kept of each.
    init(map: BPFMap, names: BPFMap, requestBytes: Int) throws(KernelError) {
        self.names = names
        self.requestBytes = requestBytes
        let context = Unmanaged.passUnretained(self).toOpaque()
        ring = ring_buffer__new(map.fd, { context, record, size in
            guard let context, let record, size >= TraceRing.headerSize else { return 0 }
            return Unmanaged<TraceRing>.fromOpaque(context).takeUnretainedValue().take(UnsafeRawPointer(record), size: size)
        }, context, nil)
        guard ring != nil else { throw KernelError("map the ring of traced requests", code: errno) }
    }

    deinit { ring_buffer__free(ring) }

    func drain() throws(KernelError) -> [TracedRequest] {
        let result = ring_buffer__consume(ring)
        guard result >= 0 || result == Self.enough else { throw KernelError("read the ring of traced requests", code: -result) }
        defer {
            taken.removeAll(keepingCapacity: true)
            rows.removeAll(keepingCapacity: true)
        }
        // Names that came with these records; the others are known.
        if taken.contains(where: { $0.command == nil && !$0.flags.contains(.push) }) { try name() }
        return taken
    }

    private static let headerSize = MemoryLayout<kiln_trace_record>.offset(of: \.bytes) ?? 0

    /// What libbpf gives back when it is told to go on no further.
    private static let enough = -EAGAIN

    private func take(_ bytes: UnsafeRawPointer, size: Int) -> Int32 {
        func load<Field>(_ field: KeyPath<kiln_trace_record, Field>) -> Field {
            bytes.load(fromByteOffset: MemoryLayout<kiln_trace_record>.offset(of: field) ?? 0, as: Field.self)
        }
        func time(_ field: KeyPath<kiln_trace_record, UInt64>) -> Nanoseconds? {
            let count = load(field)
            return count == 0 ? nil : Nanoseconds(count)
        }
        let replied = Int(load(\.reply_captured)), requested = Int(load(\.request_captured))
        guard Self.headerSize + replied + requested <= size else { return 0 }
        let payload = UnsafeRawBufferPointer(start: bytes + Self.headerSize, count: replied + requested)
        let client = load(\.client), port = load(\.client_port), row = UInt32(load(\.row)), count = Int(load(\.count))
        let flags = TracedRequest.Flags(rawValue: load(\.flags))
        let requestSize = load(\.request_bytes), replySize = load(\.reply_bytes)
        let request = TracedRequest(
            process: Int(client.process), tid: load(\.tid), fd: load(\.fd) == KILN_TRACE_NO_FD ? nil : load(\.fd), sequence: load(\.sequence),
            client: ClientMaps.address(client),
            clientPort: client.family == KILN_ADDRESS_UNIX.rawValue || port == 0 ? nil : UInt16(bigEndian: port),
            command: flags.contains(.push) ? nil : nameOfRow[row], received: time(\.received_ns), arrived: time(\.arrived_ns),
            executed: time(\.executed_ns), sent: time(\.sent_ns), requestBytes: requestSize == 0 ? nil : requestSize,
            replyBytes: replySize == 0 || flags.contains(.replyLost) ? nil : replySize, request: Array(payload[..<requested]),
            reply: Array(payload[requested...]), flags: flags
        )
        rows.append(contentsOf: repeatElement(row, count: count))
        if count == 1, !flags.contains(.together) {
            taken.append(request)
        } else {
            taken += request.takenApart(count, requestBytes: requestBytes)
        }
        return taken.count < TraceProbe.batch ? 0 : Self.enough
    }

    /// Look up the names of rows that are new.
    private func name() throws(KernelError) {
        try names.forEachEntry(key: kiln_command_key.self, value: UInt32.self) { key, row in
            if nameOfRow[row.pointee] == nil {
                nameOfRow[row.pointee] = withUnsafeBytes(of: key.pointee.name) { CommandName(bytes: $0) }
            }
        }
        for index in taken.indices where taken[index].command == nil && !taken[index].flags.contains(.push) {
            taken[index].command = nameOfRow[rows[index]] ?? .other
        }
    }
}
