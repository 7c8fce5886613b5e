import CLibbpf
import Glibc
import KilnBPF
import KilnModel

/// Reads the records of single requests that a `CommandProbe` with a `trace` emits.
public final class TraceRecords {
    private let ring: TraceRing

    /// `requestBytes`: the limit of captured bytes in the filter of `probe`. `payload` decodes them.
    public init(of probe: borrowing CommandProbe, requestBytes: Int, payload: any PayloadDecoder) throws(KernelError) {
        ring = try TraceRing(map: try probe.object.map("trace_ring"), names: probe.ids, requestBytes: requestBytes, payload: payload)
    }

    /// Reads at most `batch` requests, and the rest of a pipeline, from the ring buffer, because a server may be faster than the consumer.
    /// Called several times a second.
    public func drain() throws(KernelError) -> [TracedRequest] { try ring.drain() }

    public static let batch = 8192
}

/// Reads the ring buffer `trace_ring`.
private final class TraceRing {
    private var ring: OpaquePointer?
    private let names: BPFMap
    private let requestBytes: Int
    private let payload: any PayloadDecoder
    /// Names by row. They never change.
    private var nameOfRow: [UInt32: CommandName] = [:]
    private var taken: [TracedRequest] = []
    private var rows: [UInt32] = []

    /// `requestBytes`: the limit of captured bytes of a request.
    init(map: BPFMap, names: BPFMap, requestBytes: Int, payload: any PayloadDecoder) throws(KernelError) {
        self.names = names
        self.payload = payload
        self.requestBytes = requestBytes
        let context = Unmanaged.passUnretained(self).toOpaque()
        ring = ring_buffer__new(
            map.fd,
            { context, record, size in
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
        // These records may have brought new names; the others are known.
        if taken.contains(where: { $0.command == nil && !$0.flags.contains(.push) }) { try name() }
        return taken
    }

    private static let headerSize = MemoryLayout<kiln_trace_record>.offset(of: \.bytes) ?? 0

    /// The result of libbpf after the callback asked it to stop.
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
        if count == 1, !flags.contains(.coalesced) {
            taken.append(request)
        } else {
            taken += request.split(count, requestBytes: requestBytes, self.payload)
        }
        return taken.count < TraceRecords.batch ? 0 : Self.enough
    }

    /// Looks up the names of new rows.
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
