import CLibdwReference
import KilnBPF
import KilnSymbols
import UnwindHost

/// The kernel's unwinder in user space, with its tables.
final class HostUnwinder {
    private let host: OpaquePointer
    /// What the host reads.
    private let cells: [UnsafeMutableBufferPointer<UInt64>]

    struct Mapping {
        let start: UInt64
        let end: UInt64
        let bias: UInt64
        let table: UnwindTable?
    }

    init?(_ mappings: [Mapping]) {
        var copies: [UnsafeMutableBufferPointer<UInt64>] = []
        let prepared = mappings.map { mapping in
            var prepared = unwind_host_mapping()
            prepared.start = mapping.start
            prepared.end = mapping.end
            guard let table = mapping.table, table.granuleCount > 0 else { return prepared }
            let copy = UnsafeMutableBufferPointer<UInt64>.allocate(capacity: table.cells.count)
            _ = copy.initialize(from: table.cells)
            copies.append(copy)
            prepared.bias = mapping.bias &+ table.base
            prepared.cells = UnsafePointer(copy.baseAddress)
            prepared.cell_count = copy.count
            prepared.granules = UInt32(table.granuleCount)
            return prepared
        }
        cells = copies
        guard let host = unwind_host_create(prepared, prepared.count) else { return nil }
        self.host = host
    }

    /// With the code that a process has mapped now.
    convenience init?(pid: Int32) throws {
        self.init(
            try Symbolizer(pid: pid).executableMappings().map {
                Mapping(start: $0.start, end: $0.end, bias: $0.bias, table: try? $0.file?.unwindTable())
            })
    }

    deinit {
        unwind_host_free(host)
        for copy in cells { copy.deallocate() }
    }

    func setCodeSegment(_ segment: UInt16) { unwind_host_set_code_segment(host, segment) }

    /// The task's probed calls, the latest first: where each return address stood, and what it was.
    func setProbes(page: UInt64, returns: [(slot: UInt64, address: UInt64)]) -> Bool {
        unwind_host_set_probes(host, page, returns.map { unwind_host_return(slot: $0.slot, address: $0.address) }, returns.count)
    }

    func setProbedInstruction(at original: UInt64, runningAt copy: UInt64) { unwind_host_set_probed_instruction(host, original, copy) }

    func setTrapped(_ trapped: Bool) { unwind_host_set_trapped(host, trapped) }

    func setStackStart(_ address: UInt64) { unwind_host_set_stack_start(host, address) }

    func setMemory(inExec: Bool = false, exiting: Bool = false) { unwind_host_set_memory(host, inExec, exiting) }

    /// Nil: the code can't be read.
    func followsCall(_ address: UInt64, _ read: unwind_read, _ context: UnsafeMutableRawPointer?) -> Bool? {
        switch unwind_host_follows_call(host, address, read, context) {
        case 0: false
        case 1: true
        default: nil
        }
    }

    func step(_ registers: [UInt64], _ read: unwind_read, _ context: UnsafeMutableRawPointer?) -> unwind_step {
        unwind_host_step(host, registers, read, context)
    }

    /// Addresses from the innermost frame on, marks of signals taken off.
    func stack(
        _ registers: [UInt64], _ read: unwind_read, _ context: UnsafeMutableRawPointer?
    ) -> (frames: [UInt64], end: kiln_stack_end) {
        var end: UInt32 = 0
        let frames = [UInt64](unsafeUninitializedCapacity: Int(KILN_USER_DEPTH)) { buffer, count in
            count = unwind_host_stack(host, registers, read, context, buffer.baseAddress, buffer.count, &end)
        }
        return (frames.map { $0 & ~(KILN_FRAME_INTERRUPTED | KILN_FRAME_GUESSED) }, kiln_stack_end(end))
    }
}

/// Stacks by libdwfl.
final class ReferenceUnwinder {
    private let process: OpaquePointer
    private let stack = UnsafeMutablePointer<reference_stack>.allocate(capacity: 1)

    init?(pid: Int32) {
        guard let process = reference_process_open(pid) else { return nil }
        self.process = process
    }

    init?(file path: String) {
        guard let process = reference_process_open_file(path) else { return nil }
        self.process = process
    }

    deinit {
        reference_process_close(process)
        stack.deallocate()
    }

    func caller(_ registers: [UInt64], _ read: reference_read, _ context: UnsafeMutableRawPointer?) -> reference_caller {
        reference_unwind_caller(process, registers, read, context)
    }

    /// `error`: why there are no more frames, nil at the outermost.
    func stack(
        _ registers: [UInt64], _ read: reference_read, _ context: UnsafeMutableRawPointer?
    ) -> (frames: [UInt64], error: String?) {
        reference_unwind_stack(process, registers, read, context, stack)
        let frames = withUnsafeBytes(of: &stack.pointee.frames) { bytes in
            Array(bytes.bindMemory(to: UInt64.self).prefix(stack.pointee.count))
        }
        return (frames, stack.pointee.error.map { String(cString: $0) })
    }
}
