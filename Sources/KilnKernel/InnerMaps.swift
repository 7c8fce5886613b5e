import CLibbpf
import Glibc

/// A map for an element of a map of maps, which then keeps it alive.
struct InnerMap: ~Copyable {
    let fd: Int32

    /// An array of `entries` values of `valueSize` bytes (a multiple of 8), filled through a memory mapping instead of one call for each
    /// element.
    init(
        named name: String, valueSize: Int, entries: Int, fill: (UnsafeMutableRawBufferPointer) -> Void
    ) throws(KernelError) {
        var options = bpf_map_create_opts()
        options.sz = MemoryLayout<bpf_map_create_opts>.size
        options.map_flags = UInt32(BPF_F_MMAPABLE | BPF_F_INNER_MAP)
        fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, name, 4, UInt32(valueSize), UInt32(entries), &options)
        guard fd >= 0 else { throw KernelError("create the map \(name) of \(entries) entries", code: -fd) }
        let size = Self.pageRounded(valueSize * entries)
        guard let memory = mmap(nil, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), memory != MAP_FAILED else {
            throw KernelError("fill the map \(name)", code: errno)
        }
        fill(UnsafeMutableRawBufferPointer(start: memory, count: valueSize * entries))
        munmap(memory, size)
    }

    deinit { if fd >= 0 { close(fd) } }

    private init(fd: Int32) { self.fd = fd }

    /// Another reference to the same map, for a second element.
    func again() throws(KernelError) -> InnerMap {
        let descriptor = fcntl(fd, F_DUPFD_CLOEXEC, 0)
        guard descriptor >= 0 else { throw KernelError("share a map", code: errno) }
        return InnerMap(fd: descriptor)
    }

    /// The descriptor, which the caller must close.
    consuming func release() -> Int32 {
        let descriptor = fd
        discard self
        return descriptor
    }

    /// The kernel's memory for an array of this many bytes, without the page that describes it.
    static func pageRounded(_ bytes: Int) -> Int {
        let page = sysconf(Int32(_SC_PAGESIZE))
        return (bytes + page - 1) / page * page
    }
}

/// Changes of several elements of a map of maps, applied together.
struct InnerMapChanges: ~Copyable {
    private var keys: [UInt32] = []
    private var descriptors: [Int32] = []

    init() {}

    deinit { for fd in descriptors { close(fd) } }

    /// Each change holds a descriptor until it is applied.
    var count: Int { keys.count }

    mutating func set(_ key: UInt32, to map: consuming InnerMap) {
        keys.append(key)
        descriptors.append(map.release())
    }

    /// Applies the changes and clears the list. One call if the kernel allows it, because each call waits for running programs to end.
    mutating func apply(to outer: BPFMap) throws(KernelError) {
        guard !keys.isEmpty else { return }
        defer {
            for fd in descriptors { close(fd) }
            keys = []
            descriptors = []
        }
        var count = UInt32(keys.count)
        var options = bpf_map_batch_opts()
        options.sz = MemoryLayout<bpf_map_batch_opts>.size
        if bpf_map_update_batch(outer.fd, keys, descriptors, &count, &options) == 0 { return }
        // Batches of maps of maps came with Linux 5.19.
        for (key, descriptor) in zip(keys, descriptors) { try outer.update(key, descriptor) }
    }
}
