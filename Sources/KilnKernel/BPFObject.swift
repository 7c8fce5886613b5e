import CLibbpf
import Glibc
import KilnBPF
import KilnModel

/// A function to attach a program to: its offset in the file, and the cookie that the program gets (bpf_get_attach_cookie).
struct ProbedFunction {
    let name: String
    let offset: UInt64
    let cookie: UInt64
    /// The offset of the counter that enables it; 0: none.
    var semaphore: UInt64 = 0
}

/// Keeps a program attached.
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

/// An embedded BPF object: opened, configured, loaded. Closes and detaches everything when it is released. Nothing is pinned, so the kernel
/// keeps nothing after the process ends.
package struct BPFObject: ~Copyable {
    private let object: OpaquePointer
    let name: String
    /// The kernel's time for maps and programs, including libbpf's work.
    private(set) var loadTime = Nanoseconds.zero
    /// The reason why the kernel refused the programs that probe functions. If it is not nil, none of them can be attached.
    private(set) var refusedProbes: KernelError?
    /// Attachments: the program, the place in words, and the link.
    private var attachments: [(program: String, place: String, link: Link)] = []
    /// Programs that are loaded to be attached to several functions with one link.
    private var attachedToManyAtOnce: [String] = []
    private var variables: UnsafeMutableRawBufferPointer?

    /// Opens the embedded bytes. Nothing reaches the kernel yet.
    package init(_ embedded: kiln_object, name: String) throws(KernelError) {
        kiln_libbpf_prepare()
        var options = bpf_object_open_opts()
        options.sz = MemoryLayout<bpf_object_open_opts>.size
        guard
            let opened = name.withCString({ cName in
                options.object_name = cName
                return bpf_object__open_mem(embedded.bytes, embedded.size, &options)
            })
        else { throw KernelError("open the BPF object \(name)", code: errno) }
        object = opened
        self.name = name
    }

    deinit {
        for attached in attachments.reversed() { attached.link.undo() }
        if let variables { munmap(variables.baseAddress, variables.count) }
        bpf_object__close(object)
    }

    /// Fills a read-only section before loading. `value` is the C struct in the section.
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

    /// Uses an existing map, before loading. The caller keeps the descriptor.
    func use(_ descriptor: Int32, asMap map: String) throws(KernelError) {
        let result = bpf_map__reuse_fd(try find(map), descriptor)
        guard result == 0 else { throw KernelError("use the map \(map)", code: -result) }
    }

    /// The names of the declared maps, without those of constants and variables.
    package var mapNames: [String] {
        var names: [String] = []
        forEachMap { if !bpf_map__is_internal($0) { names.append(String(cString: bpf_map__name($0))) } }
        return names
    }

    /// Selects the programs to load.
    package func loadOnly(_ programs: [String]) {
        forEachProgram { program, programName in
            bpf_program__set_autoload(program, programs.contains(programName))
        }
    }

    /// Selects the maps to create, if no program is loaded.
    func createOnly(_ maps: [String]) {
        forEachMap { bpf_map__set_autocreate($0, maps.contains(String(cString: bpf_map__name($0)))) }
    }

    /// Creates the maps and loads the programs. The kernel may refuse only the programs that probe functions: see `refusedProbes`.
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

    /// Maps the variables of .bss, which the running programs share, for the lifetime of the object. Called once, after loading.
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

    /// Attaches a program as its section says, for the lifetime of the object.
    package mutating func attach(_ program: String) throws(KernelError) {
        guard let found = bpf_object__find_program_by_name(object, program) else {
            throw KernelError("find the BPF program \(program)", code: ENOENT)
        }
        guard let link = bpf_program__attach(found) else {
            throw KernelError("attach \(sectionName(found))", code: errno, log: String(cString: kiln_libbpf_log_take()))
        }
        attachments.append((program, sectionName(found), .libbpf(link)))
    }

    /// Runs a task iterator (`iter/task`) once: the program sees each thread of the host.
    func run(overAllTasks program: String) throws(KernelError) {
        guard let found = bpf_object__find_program_by_name(object, program) else {
            throw KernelError("find the BPF program \(program)", code: ENOENT)
        }
        guard let link = bpf_program__attach_iter(found, nil) else {
            throw KernelError("attach \(sectionName(found))", code: errno, log: String(cString: kiln_libbpf_log_take()))
        }
        defer { bpf_link__destroy(link) }
        let iterator = bpf_iter_create(bpf_link__fd(link))
        guard iterator >= 0 else { throw KernelError("create the iterator \(program)", code: -iterator) }
        defer { close(iterator) }
        // The program writes nothing, so the first read sees all tasks; EAGAIN says that there are more.
        var byte: UInt8 = 0, result = 0
        repeat { result = read(iterator, &byte, 1) } while result < 0 && (errno == EAGAIN || errno == EINTR)
        guard result == 0 else { throw KernelError("run the iterator \(program)", code: errno) }
    }

    /// Before loading: lets one link attach each of these programs to several functions. Attaching and detaching then wait for running
    /// programs only once, and each call is cheaper. The kernel must have uprobe_multi.
    mutating func attachToManyAtOnce(_ programs: [String]) {
        forEachProgram { program, programName in
            if programs.contains(programName) { kiln_attach_to_functions_at_once(program) }
        }
        attachedToManyAtOnce += programs
    }

    /// Attaches a program to functions of a process (of all: 0, where they are attached at once), for the lifetime of the object. `file`: a path of the
    /// mapped file that the kernel can open. `title`: names them all.
    mutating func attach(
        _ program: String, toFunctions functions: [ProbedFunction], of file: String, inProcess pid: Int32, atReturn: Bool, named title: String? = nil
    ) throws(KernelError) {
        guard let found = bpf_object__find_program_by_name(object, program) else {
            throw KernelError("find the BPF program \(program)", code: ENOENT)
        }
        if let refusedProbes { throw refusedProbes }
        func place(_ function: ProbedFunction) -> String { (atReturn ? "return of " : "") + function.name }
        if attachedToManyAtOnce.contains(program) {
            let descriptor = kiln_attach_to_functions(
                bpf_program__fd(found), file, functions.map(\.offset), functions.map(\.semaphore), functions.map(\.cookie), UInt32(functions.count), pid,
                atReturn)
            guard descriptor >= 0 else {
                throw KernelError("attach to \(title ?? functions.map(\.name).joined(separator: ", ")) of pid \(pid)", code: -descriptor)
            }
            attachments.append((program, title ?? functions.map(place).joined(separator: ", "), .descriptor(descriptor)))
            return
        }
        for function in functions {
            var options = bpf_uprobe_opts()
            options.sz = MemoryLayout<bpf_uprobe_opts>.size
            options.retprobe = atReturn
            options.bpf_cookie = function.cookie
            options.ref_ctr_offset = Int(function.semaphore)
            guard let link = bpf_program__attach_uprobe_opts(found, pid, file, Int(function.offset), &options) else {
                throw KernelError("attach to \(function.name) of pid \(pid)", code: errno)
            }
            attachments.append((program, place(function), .libbpf(link)))
        }
    }

    func find(program: String) throws(KernelError) -> OpaquePointer {
        guard let found = bpf_object__find_program_by_name(object, program) else { throw KernelError("find the BPF program \(program)", code: ENOENT) }
        return found
    }

    /// Keeps an attachment, with its place in words.
    mutating func add(_ attached: (program: String, place: String, link: OpaquePointer)) {
        attachments.append((attached.program, attached.place, .libbpf(attached.link)))
    }

    /// The number of attachments, for `detach(backTo:)`.
    var attachmentCount: Int { attachments.count }

    /// Detaches all but the first `count` attachments, the last one first.
    mutating func detach(backTo count: Int) {
        for attached in attachments[count...].reversed() { attached.link.undo() }
        attachments.removeSubrange(count...)
    }

    /// Attaches a program to an open perf event. The link closes the event.
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

    /// Attaches a program to a timer of each online CPU: `frequency` samples per second of CPU time.
    package mutating func attach(_ program: String, toCPUClocksAt frequency: Int) throws(KernelError) {
        for cpu in 0..<Int32(try BPFMap.possibleCPUs()) {
            let fd = kiln_perf_event_open_cpu_clock(cpu, UInt(frequency))
            if fd == -ENODEV { continue }  // possible, but not online
            guard fd >= 0 else { throw KernelError("open a sampling timer of \(frequency) Hz on CPU \(cpu)", code: -fd) }
            try attach(program, toPerfEvent: fd)
        }
    }

    /// Detaches all programs. Maps and programs stay loaded.
    mutating func detach() { detach(backTo: 0) }

    /// Detaches one program everywhere.
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

    /// The places where a program is attached, each once.
    func places(of program: String) -> [String] {
        var places: [String] = []
        for attached in attachments where attached.program == program && !places.contains(attached.place) { places.append(attached.place) }
        return places
    }

    /// Calls `body` with the name and the kernel's information of each loaded program.
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
