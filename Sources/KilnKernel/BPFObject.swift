import CLibbpf
import Glibc
import KilnBPF
import KilnModel

/// A function that a program is attached to: where its file has it, and what the program is told of it (bpf_get_attach_cookie).
struct ProbedFunction {
    let name: String
    let offset: UInt64
    let cookie: UInt64
}

/// What holds a program where it is attached.
private enum Link {
    case libbpf(OpaquePointer)
    case descriptor(Int32)

    func undo() {
        switch self {
        case .libbpf(let link): bpf_link__destroy(link)
        case .descriptor(let descriptor): close(descriptor)
        }
    }
}

/// An embedded BPF object: opened, configured, loaded; what it holds goes when it goes. Nothing is pinned, so the kernel
/// keeps nothing after the process ends, however it ends.
package struct BPFObject: ~Copyable {
    private let object: OpaquePointer
    let name: String
    /// How long the kernel took for maps and programs, libbpf's work included.
    private(set) var loadTime = Nanoseconds.zero
    /// Why the kernel refused programs that probe functions; none of them can be attached then.
    private(set) var refusedProbes: KernelError?
    /// What is attached: the program, a place as people name it, and what holds it there.
    private var attachments: [(program: String, place: String, link: Link)] = []
    /// The programs that are loaded to be attached to several functions at once.
    private var attachedTogether: [String] = []
    private var variables: UnsafeMutableRawBufferPointer?

    /// Open the embedded bytes; nothing reaches the kernel yet.
    package init(_ embedded: kiln_object, name: String) throws(KernelError) {
        kiln_libbpf_prepare()
        var options = bpf_object_open_opts()
        options.sz = MemoryLayout<bpf_object_open_opts>.size
        guard let opened = name.withCString({ cName in
            options.object_name = cName
            return bpf_object__open_mem(embedded.bytes, embedded.size, &options)
        }) else { throw KernelError("open the BPF object \(name)", code: errno) }
        object = opened
        self.name = name
    }

    deinit {
        for attached in attachments.reversed() { attached.link.undo() }
        if let variables { munmap(variables.baseAddress, variables.count) }
        bpf_object__close(object)
    }

    /// Fill a read-only section before loading. `value` is the C struct the section holds.
    package func setConstant<Value>(section: String, _ value: Value) throws(KernelError) {
        guard let map = bpf_object__find_map_by_name(object, section) else {
            throw KernelError("find \(section) in the BPF object \(name)", code: ENOENT)
        }
        let result = withUnsafeBytes(of: value) { bytes in
            bpf_map__set_initial_value(map, bytes.baseAddress, MemoryLayout<Value>.size)
        }
        guard result == 0 else { throw KernelError("configure \(section) of the BPF object \(name)", code: -result) }
    }

    func setCapacity(ofMap map: String, to entries: UInt32) throws(KernelError) {
        let result = bpf_map__set_max_entries(try find(map), entries)
        guard result == 0 else { throw KernelError("size the map \(map)", code: -result) }
    }

    /// Use a map that was made already, by a descriptor that stays the caller's; before loading.
    func use(_ descriptor: Int32, asMap map: String) throws(KernelError) {
        let result = bpf_map__reuse_fd(try find(map), descriptor)
        guard result == 0 else { throw KernelError("use the map \(map)", code: -result) }
    }

    /// The maps that programs declare, by name; not those of constants and variables.
    package var mapNames: [String] {
        var names: [String] = []
        forEachMap { if !bpf_map__is_internal($0) { names.append(String(cString: bpf_map__name($0))) } }
        return names
    }

    /// Which programs to load; the others stay out of the kernel.
    package func loadOnly(_ programs: [String]) {
        forEachProgram { program, programName in
            bpf_program__set_autoload(program, programs.contains(programName))
        }
    }

    /// Create the maps and have the programs verified. Probes of functions may be refused while the others are there: see `refusedProbes`.
    package mutating func load() throws(KernelError) {
        _ = kiln_libbpf_log_take()
        let began = MonotonicClock.now()
        var probes: Int32 = 0
        let result = kiln_load_object(object, &probes)
        loadTime = MonotonicClock.now() - began
        guard result == 0 else { throw refusal(-result) }
        if probes != 0 { refusedProbes = refusal(-probes) }
    }

    private func refusal(_ code: Int32) -> KernelError {
        KernelError("load the BPF programs of \(name)", code: code, log: String(cString: kiln_libbpf_log_take()))
    }

    package func map(_ name: String) throws(KernelError) -> BPFMap {
        let found = try find(name)
        return BPFMap(
            fd: bpf_map__fd(found), name: name, keySize: Int(bpf_map__key_size(found)),
            valueSize: Int(bpf_map__value_size(found)), capacity: Int(bpf_map__max_entries(found))
        )
    }

    /// Map the variables of .bss, shared with the running programs, until the object goes. Once, after loading.
    mutating func mapVariables<Value>(as type: Value.Type) throws(KernelError) -> UnsafeMutablePointer<Value> {
        guard let map = bpf_object__find_map_by_name(object, ".bss"), variables == nil,
              Int(bpf_map__value_size(map)) >= MemoryLayout<Value>.size
        else { throw KernelError("find the variables of the BPF object \(name)", code: ENOENT) }
        let size = Int(bpf_map__value_size(map))
        let memory = mmap(nil, size, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0)
        guard let memory, memory != MAP_FAILED else {
            throw KernelError("map the variables of the BPF object \(name)", code: errno)
        }
        variables = UnsafeMutableRawBufferPointer(start: memory, count: size)
        return memory.assumingMemoryBound(to: type)
    }

    /// Attach a program where its section says, until the object goes.
    package mutating func attach(_ program: String) throws(KernelError) {
        guard let found = bpf_object__find_program_by_name(object, program) else {
            throw KernelError("find the BPF program \(program)", code: ENOENT)
        }
        guard let link = bpf_program__attach(found) else {
            throw KernelError("attach \(sectionName(found))", code: errno, log: String(cString: kiln_libbpf_log_take()))
        }
        attachments.append((program, sectionName(found), .libbpf(link)))
    }

    /// Have these programs loaded so that one link attaches each to several functions, before loading: then attaching and detaching wait
    /// for the kernel's programs once for all of them, and each call costs less. The kernel must allow it (uprobe_multi).
    mutating func attachTogether(_ programs: [String]) {
        forEachProgram { program, programName in
            if programs.contains(programName) { kiln_attach_to_functions_at_once(program) }
        }
        attachedTogether += programs
    }

    /// Attach a program to functions of a process, until the object goes. `file`: the mapped file, by a path that the kernel can open.
    mutating func attach(
        _ program: String, toFunctions functions: [ProbedFunction], of file: String, inProcess pid: Int32, atReturn: Bool
    ) throws(KernelError) {
        guard let found = bpf_object__find_program_by_name(object, program) else {
            throw KernelError("find the BPF program \(program)", code: ENOENT)
        }
        if let refusedProbes { throw refusedProbes }
        func place(_ function: ProbedFunction) -> String { (atReturn ? "return of " : "") + function.name }
        if attachedTogether.contains(program) {
            let descriptor = kiln_attach_to_functions(
                bpf_program__fd(found), file, functions.map(\.offset), functions.map(\.cookie), UInt32(functions.count), pid, atReturn
            )
            guard descriptor >= 0 else {
                throw KernelError("attach to \(functions.map(\.name).joined(separator: ", ")) of pid \(pid)", code: -descriptor)
            }
            attachments.append((program, functions.map(place).joined(separator: ", "), .descriptor(descriptor)))
            return
        }
        for function in functions {
            var options = bpf_uprobe_opts()
            options.sz = MemoryLayout<bpf_uprobe_opts>.size
            options.retprobe = atReturn
            options.bpf_cookie = function.cookie
            guard let link = bpf_program__attach_uprobe_opts(found, pid, file, Int(function.offset), &options) else {
                throw KernelError("attach to \(function.name) of pid \(pid)", code: errno)
            }
            attachments.append((program, place(function), .libbpf(link)))
        }
    }

    /// How many attachments there are, for detach(backTo:).
    var attachmentCount: Int { attachments.count }

    /// Undo all attachments but the first `count`, the last one first.
    mutating func detach(backTo count: Int) {
        for attached in attachments[count...].reversed() { attached.link.undo() }
        attachments.removeSubrange(count...)
    }

    /// Attach a program to an open perf event, which is closed with the link.
    mutating func attach(_ program: String, toPerfEvent fd: Int32) throws(KernelError) {
        guard let found = bpf_object__find_program_by_name(object, program),
              let link = bpf_program__attach_perf_event(found, fd)
        else {
            let code = errno
            close(fd)
            throw KernelError("attach the sampling program to a CPU's timer", code: code)
        }
        attachments.append((program, "timers of CPUs", .libbpf(link)))
    }

    /// Have a program sample what runs on each online CPU: `frequency` times a second of CPU time.
    package mutating func attach(_ program: String, toCPUClocksAt frequency: Int) throws(KernelError) {
        for cpu in 0..<Int32(try BPFMap.possibleCPUs()) {
            let fd = kiln_perf_event_open_cpu_clock(cpu, UInt(frequency))
            if fd == -ENODEV { continue }    // possible, but not online
            guard fd >= 0 else { throw KernelError("open a sampling timer of \(frequency) Hz on CPU \(cpu)", code: -fd) }
            try attach(program, toPerfEvent: fd)
        }
    }

    /// Detach what is attached; maps and programs stay.
    mutating func detach() { detach(backTo: 0) }

    /// Detach one program from wherever it is attached.
    mutating func detach(_ program: String) {
        for attached in attachments where attached.program == program { attached.link.undo() }
        attachments.removeAll { $0.program == program }
    }

    /// BPF run-time statistics of each loaded program, by name.
    func programCounts() -> [String: ProgramCounts] {
        var counts: [String: ProgramCounts] = [:]
        forEachLoaded { counts[$0] = ProgramCounts($1) }
        return counts
    }

    /// Where a program is attached, each place once.
    func places(of program: String) -> [String] {
        var places: [String] = []
        for attached in attachments where attached.program == program && !places.contains(attached.place) { places.append(attached.place) }
        return places
    }

    /// What the kernel knows of each loaded program, with its name.
    func forEachLoaded(_ body: (String, bpf_prog_info) -> Void) {
        forEachProgram { program, programName in
            guard bpf_program__autoload(program) else { return }
            var info = bpf_prog_info()
            var length = UInt32(MemoryLayout<bpf_prog_info>.size)
            guard bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &length) == 0 else { return }
            body(programName, info)
        }
    }

    private func find(_ map: String) throws(KernelError) -> OpaquePointer {
        guard let found = bpf_object__find_map_by_name(object, map) else {
            throw KernelError("find the map \(map) in the BPF object \(name)", code: ENOENT)
        }
        return found
    }

    private func sectionName(_ program: OpaquePointer) -> String {
        bpf_program__section_name(program).map { String(cString: $0) } ?? name
    }

    private func forEachMap(_ body: (OpaquePointer) -> Void) {
        var map = bpf_object__next_map(object, nil)
        while let current = map {
            body(current)
            map = bpf_object__next_map(object, current)
        }
    }

    private func forEachProgram(_ body: (OpaquePointer, String) -> Void) {
        var program = bpf_object__next_program(object, nil)
        while let current = program {
            body(current, bpf_program__name(current).map { String(cString: $0) } ?? "")
            program = bpf_object__next_program(object, current)
        }
    }
}
