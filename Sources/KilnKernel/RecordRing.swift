import CLibbpf
import Glibc

/// Reads a ring buffer's records in batches.
final class RecordRing {
    private var ring: OpaquePointer?
    private let name: String
    private let batch: Int
    private let take: (UnsafeRawBufferPointer) -> Void
    private var taken = 0

    /// `take` is called for each record. `name`: of what, for errors.
    init(_ map: BPFMap, of name: String, batch: Int, take: @escaping (UnsafeRawBufferPointer) -> Void) throws(KernelError) {
        self.name = name
        self.batch = batch
        self.take = take
        ring = ring_buffer__new(
            map.fd,
            { context, record, size in
                guard let context, let record else { return 0 }
                return Unmanaged<RecordRing>.fromOpaque(context).takeUnretainedValue().take(UnsafeRawBufferPointer(start: record, count: size))
            }, Unmanaged.passUnretained(self).toOpaque(), nil)
        guard ring != nil else { throw KernelError("map the ring of \(name)", code: errno) }
    }

    deinit { ring_buffer__free(ring) }

    /// Reads at most a batch, because records may come faster than they are consumed. Returns whether there may be more.
    func drain() throws(KernelError) -> Bool {
        taken = 0
        let result = ring_buffer__consume(ring)
        guard result >= 0 || result == Self.enough else { throw KernelError("read the ring of \(name)", code: -result) }
        return taken >= batch
    }

    /// The result of libbpf after the callback asked it to stop.
    private static let enough = -EAGAIN

    private func take(_ record: UnsafeRawBufferPointer) -> Int32 {
        take(record)
        taken += 1
        return taken < batch ? 0 : Self.enough
    }
}

/// A ring buffer whose records are read as values. Apart from `RecordRing`, because a C function can't know a generic type.
final class BatchRing<Record> {
    private var ring: RecordRing?
    private var taken: [Record] = []

    /// `read`: nil if the bytes are no record. `name`: of what, for errors.
    init(_ map: BPFMap, of name: String, read: @escaping (UnsafeRawBufferPointer) -> Record?) throws(KernelError) {
        ring = try RecordRing(map, of: name, batch: 8192) { [unowned self] in if let record = read($0) { taken.append(record) } }
    }

    /// Records since the last call, a batch at most, and whether there may be more.
    func drain() throws(KernelError) -> (records: [Record], more: Bool) {
        defer { taken.removeAll(keepingCapacity: true) }
        let more = try ring?.drain() ?? false
        return (taken, more)
    }
}
