import CLibbpf
import Glibc

/// A loaded map. The object that loaded it owns the descriptor.
package struct BPFMap {
    package let fd: Int32
    let name: String
    let keySize: Int
    let valueSize: Int
    let capacity: Int

    /// The number of possible CPUs: a per-CPU value has a copy for each of them.
    static func possibleCPUs() throws(KernelError) -> Int {
        let count = libbpf_num_possible_cpus()
        guard count > 0 else { throw KernelError("count the possible CPUs", code: -count) }
        return Int(count)
    }

    /// Sets `key` to `value`.
    func update<Key, Value>(_ key: Key, _ value: Value) throws(KernelError) {
        let result = withUnsafeBytes(of: key) { keyBytes in
            withUnsafeBytes(of: value) { bpf_map_update_elem(fd, keyBytes.baseAddress, $0.baseAddress, 0) }
        }
        guard result == 0 else { throw KernelError("write the map \(name)", code: -result) }
    }

    /// Sets `key` to `value` if it has none; false: it has.
    func insert<Key, Value>(_ key: Key, _ value: Value) throws(KernelError) -> Bool {
        let result = withUnsafeBytes(of: key) { keyBytes in
            withUnsafeBytes(of: value) { bpf_map_update_elem(fd, keyBytes.baseAddress, $0.baseAddress, UInt64(BPF_NOEXIST)) }
        }
        guard result == 0 || result == -EEXIST else { throw KernelError("write the map \(name)", code: -result) }
        return result == 0
    }

    /// Removes `key`, if it exists.
    func remove<Key>(_ key: Key) { _ = withUnsafeBytes(of: key) { bpf_map_delete_elem(fd, $0.baseAddress) } }

    /// Reads the bytes of one value into `buffer`: the copies of all CPUs, each rounded up to 8 bytes. Returns false if the key does not
    /// exist.
    func read<Key>(_ key: Key, into buffer: UnsafeMutableRawBufferPointer) throws(KernelError) -> Bool {
        let result = withUnsafeBytes(of: key) { bpf_map_lookup_elem(fd, $0.baseAddress, buffer.baseAddress) }
        if result == -ENOENT { return false }
        guard result == 0 else { throw KernelError("read the map \(name)", code: -result) }
        return true
    }

    /// The sums over all CPUs of the UInt64 counters in the first `count` entries of a per-CPU array.
    func sums(of count: Int) throws(KernelError) -> [UInt64] {
        var sums = [UInt64](repeating: 0, count: count)
        try forEachCopy(of: UInt64.self, entries: count) { entry, value in sums[entry] &+= value.pointee }
        return sums
    }

    /// Visits each CPU's copy of the first `entries` values of a per-CPU array. Reads in batches if the kernel allows it.
    package func forEachCopy<Value>(
        of type: Value.Type, entries: Int, _ body: (_ entry: Int, UnsafePointer<Value>) -> Void
    ) throws(KernelError) {
        guard entries > 0 else { return }
        let stride = (MemoryLayout<Value>.size + 7) & ~7
        let cpus = try Self.possibleCPUs()
        // A batch has at most 1 MiB.
        let chunk = max(1, min(entries, (1 << 20) / (stride * cpus)))
        let values = UnsafeMutableRawBufferPointer.allocate(byteCount: chunk * stride * cpus, alignment: 8)
        let keys = UnsafeMutablePointer<UInt32>.allocate(capacity: chunk)
        defer {
            values.deallocate()
            keys.deallocate()
        }
        func visit(_ first: Int, _ count: Int) {
            for entry in 0..<count {
                for cpu in 0..<cpus {
                    let copy = UnsafeRawPointer(values.baseAddress! + (entry * cpus + cpu) * stride)
                    body(first + entry, copy.assumingMemoryBound(to: type))
                }
            }
        }
        var next = 0
        var cursor: UInt32 = 0
        while next < entries {
            var count = UInt32(min(chunk, entries - next))
            var outBatch: UInt32 = 0
            let result = withUnsafeMutablePointer(to: &cursor) { inBatch in
                bpf_map_lookup_batch(fd, next == 0 ? nil : inBatch, &outBatch, keys, values.baseAddress, &count, nil)
            }
            if result == 0 || (result == -ENOENT && count > 0) {
                visit(next, Int(count))
                next += Int(count)
                cursor = outBatch
                continue
            }
            // This kernel has no batches for this map: read one by one.
            for entry in next..<entries where try read(UInt32(entry), into: values) { visit(entry, 1) }
            return
        }
    }

    /// Visits the first `entries` values of an array without copies for each CPU. Reads in batches if the kernel allows it.
    func forEachValue<Value>(of type: Value.Type, entries: Int, _ body: (_ entry: Int, UnsafePointer<Value>) -> Void) throws(KernelError) {
        // A batch has at most 1 MiB.
        let stride = (valueSize + 7) & ~7, chunk = max(1, min(entries, (1 << 20) / stride))
        let values = UnsafeMutableRawBufferPointer.allocate(byteCount: chunk * stride, alignment: 8)
        let keys = UnsafeMutablePointer<UInt32>.allocate(capacity: chunk)
        defer {
            values.deallocate()
            keys.deallocate()
        }
        func visit(_ first: Int, _ count: Int, every stride: Int) {
            guard let base = values.baseAddress else { return }
            for entry in 0..<count { body(first + entry, UnsafeRawPointer(base + entry * stride).assumingMemoryBound(to: type)) }
        }
        var next = 0, cursor: UInt32 = 0
        while next < entries {
            var count = UInt32(min(chunk, entries - next)), after: UInt32 = 0
            let result = withUnsafeMutablePointer(to: &cursor) { bpf_map_lookup_batch(fd, next == 0 ? nil : $0, &after, keys, values.baseAddress, &count, nil) }
            guard result == 0 || (result == -ENOENT && count > 0) else {
                for entry in next..<entries where try read(UInt32(entry), into: values) { visit(entry, 1, every: stride) }
                return
            }
            visit(next, Int(count), every: valueSize)
            next += Int(count)
            cursor = after
        }
    }

    /// Visits all entries of a hash, each at most once. An entry added during the call may be missed.
    func forEachEntry<Key, Value>(
        key: Key.Type, value: Value.Type, _ body: (UnsafePointer<Key>, UnsafePointer<Value>) -> Void
    ) throws(KernelError) {
        let keys = UnsafeMutablePointer<Key>.allocate(capacity: capacity)
        let values = UnsafeMutablePointer<Value>.allocate(capacity: capacity)
        defer {
            keys.deallocate()
            values.deallocate()
        }
        var count = UInt32(capacity)
        var cursor: UInt64 = 0
        // Reads the whole map in one call. Memory is reserved for all entries; only pages that are written become resident.
        let result = bpf_map_lookup_batch(fd, nil, &cursor, keys, values, &count, nil)
        guard result == 0 || result == -ENOENT else { throw KernelError("read the map \(name)", code: -result) }
        for entry in 0..<Int(count) { body(keys + entry, values + entry) }
    }
}
