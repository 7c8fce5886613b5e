import CLibbpf
import Glibc
import KilnBPF
import KilnModel

/// Reads the ring buffers `new_stacks` and `ended_processes`.
final class StackRing {
    private var ring: OpaquePointer?
    private let targets: Int
    private(set) var table = StackTable()
    /// Processes met, and processes that ended, since the last `takeProcesses`.
    private var met: [SampledProcess] = []
    private var ended: [Int] = []
    /// Frames of Python met since the last `takePython`, by process.
    private var python: [Int: Set<UInt64>] = [:]
    /// Processes in which code was unknown.
    private var puzzling: Set<Int> = []

    /// `targets`: the number of listed processes.
    init(stacks: BPFMap, ended endings: BPFMap, targets: Int) throws(KernelError) {
        self.targets = targets
        let context = Unmanaged.passUnretained(self).toOpaque()
        ring = ring_buffer__new(
            stacks.fd,
            { context, record, size in
                guard let context, let record, size >= StackRing.headerSize else { return 0 }
                Unmanaged<StackRing>.fromOpaque(context).takeUnretainedValue().take(record, size: size)
                return 0
            }, context, nil)
        guard ring != nil else { throw KernelError("map the ring of new stacks", code: errno) }
        let result = ring_buffer__add(
            ring, endings.fd,
            { context, record, size in
                guard let context, let record, size >= MemoryLayout<UInt64>.size else { return 0 }
                Unmanaged<StackRing>.fromOpaque(context).takeUnretainedValue().ended.append(Int(record.load(as: UInt64.self)))
                return 0
            }, context)
        guard result == 0 else { throw KernelError("map the ring of ended processes", code: -result) }
    }

    deinit { ring_buffer__free(ring) }

    var descriptor: Int32 { ring_buffer__epoll_fd(ring) }

    func drain() throws(KernelError) {
        let result = ring_buffer__consume(ring)
        guard result >= 0 else { throw KernelError("read the ring of new stacks", code: -result) }
    }

    func set(_ weights: [StackTable.Key: UInt64], _ waits: [StackTable.Key: WaitTimes], _ wakes: [StackTable.WakeKey: WakeTimes]) {
        table.weights = weights
        table.waits = waits
        table.wakeTimes = wakes
    }

    func note(_ weights: [StackTable.Key: UInt64], _ waits: [StackTable.Key: WaitTimes]) { table.note(weights, waits) }

    func closeInterval(_ interval: (time: String, length: Nanoseconds)?) { table.closeInterval(interval) }

    func settle(before comparison: UInt64, _ isMeant: (Int, StackFrames) -> Bool) { table.settle(before: comparison, isMeant) }

    /// Returns, since the last call: the processes that were sampled for the first time, or for the first time with a stack, the numbers of those
    /// that ended, and of those with a stack that ended in code that the unwinder didn't know.
    func takeProcesses() -> (met: [SampledProcess], ended: [Int], puzzling: Set<Int>) {
        defer {
            met = []
            ended = []
            puzzling = []
        }
        return (met, ended, puzzling)
    }

    func takePython() -> [Int: Set<UInt64>] {
        defer { python = [:] }
        return python
    }

    private static let headerSize = MemoryLayout<kiln_stack>.offset(of: \.frames) ?? 0

    private func take(_ record: UnsafeMutableRawPointer, size: Int) {
        func field(_ offset: Int?) -> UInt32 { record.load(fromByteOffset: offset ?? 0, as: UInt32.self) }
        guard let key = StackTable.Key(record.load(as: kiln_stack_key.self)) else { return }
        let process = key.process
        let kernel = Int(field(MemoryLayout<kiln_stack>.offset(of: \.kernel_depth)))
        let user = Int(field(MemoryLayout<kiln_stack>.offset(of: \.user_depth)))
        let interpreted = Int(field(MemoryLayout<kiln_stack>.offset(of: \.python_depth)))
        let room = (size - Self.headerSize) / MemoryLayout<UInt64>.size
        let found = Int(field(MemoryLayout<kiln_stack>.offset(of: \.found_count)))
        let foundWords = MemoryLayout<kiln_found_code>.size / MemoryLayout<UInt64>.size
        guard kernel + user + interpreted + found * foundWords <= room,
            let termination = UnwindTermination(rawValue: field(MemoryLayout<kiln_stack>.offset(of: \.end)))
        else { return }
        let words = UnsafeBufferPointer(start: (record + Self.headerSize).assumingMemoryBound(to: UInt64.self), count: room)
        let pieces = UnsafeBufferPointer(rebasing: words[(kernel + user + interpreted)...].prefix(found * foundWords))
        let foundCode = stride(from: 0, to: pieces.count, by: foundWords).map { word in
            FoundCode(start: pieces[word], end: pieces[word + 1], piece: Int(clamping: pieces[word + 2]))
        }
        let pythonFrames = Array(words[(kernel + user)...].prefix(interpreted))
        if !pythonFrames.isEmpty { python[process, default: []].formUnion(pythonFrames) }
        let marked = words[kernel..<kernel + user], marks = KILN_FRAME_INTERRUPTED | KILN_FRAME_GUESSED
        func indices(_ mark: UInt64) -> [Int] { marked.indices.filter { marked[$0] & mark != 0 }.map { $0 - kernel } }
        table.learn(
            key,
            StackFrames(
                kernel: Array(words[..<kernel]), user: marked.map { $0 & ~marks },
                interrupted: indices(KILN_FRAME_INTERRUPTED), guessed: indices(KILN_FRAME_GUESSED),
                python: pythonFrames, termination: termination,
                thread: name(record, MemoryLayout<kiln_stack>.offset(of: \.thread)),
                reading: record.load(fromByteOffset: MemoryLayout<kiln_stack>.offset(of: \.reading) ?? 0, as: UInt64.self), found: foundCode
            ))
        if termination == .noMapping { puzzling.insert(process) }
        for code in foundCode where code.piece != 0 { table.learn(code, in: process) }
        guard process >= targets, process != StackTable.noProcess else { return }
        let sampled = SampledProcess(
            number: process, pid: Int32(bitPattern: field(MemoryLayout<kiln_stack>.offset(of: \.tgid))),
            comm: name(record, MemoryLayout<kiln_stack>.offset(of: \.comm)) ?? "",
            origin: Int(field(MemoryLayout<kiln_stack>.offset(of: \.origin))),
            family: Int(field(MemoryLayout<kiln_stack>.offset(of: \.family))),
            startStack: record.load(fromByteOffset: MemoryLayout<kiln_stack>.offset(of: \.start_stack) ?? 0, as: UInt64.self)
        )
        if let known = table.processes[process] {
            // A program has no stack if it is first sampled inside of exec, or while it exits.
            guard known.startStack != sampled.startStack, sampled.startStack != 0 else { return }
        }
        table.learn(sampled)
        met.append(sampled)
    }

    /// The name of a task, if it was requested.
    private func name(_ record: UnsafeMutableRawPointer, _ offset: Int?) -> String? {
        guard let offset else { return nil }
        let name = UnsafeRawBufferPointer(start: record + offset, count: Int(KILN_COMM_BYTES)).prefix { $0 != 0 }
        return name.isEmpty ? nil : String(decoding: name, as: UTF8.self)
    }
}

extension StackTable.Key {
    /// Nil for an unknown kind.
    init?(_ key: kiln_stack_key) {
        guard let kind = StackKind(rawValue: Int(key.kind)) else { return nil }
        self.init(hash: key.hash, process: Int(key.process), kind: kind, label: Int(key.label), band: LatencyBand(kernel: key.band))
    }
}
