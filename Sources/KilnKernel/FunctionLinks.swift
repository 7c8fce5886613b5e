import CLibbpf
import Glibc

/// An instruction of a file at which a program is called, and the program's cookie.
struct ProbedInstruction {
    let place: FunctionPlace
    let cookie: UInt64
}

/// Keeps a program attached to instructions of one file: to all at once, or where the kernel can't to one after the other.
final class FunctionLink {
    private var descriptor: Int32 = -1
    private var links: [OpaquePointer] = []

    /// Attaches to all instructions, or throws and attaches to none. `pid`: the program runs in this process only, and no other process is trapped; nil: it
    /// runs in every process.
    init(
        of program: OpaquePointer, at instructions: [ProbedInstruction], file: String, pid: Int32?, asReturnProbes: Bool = false, atOnce: Bool
    ) throws(KernelError) {
        guard !instructions.isEmpty else { return }
        if atOnce {
            descriptor = kiln_attach_to_functions(
                bpf_program__fd(program), file, instructions.map(\.place.offset), instructions.map(\.place.semaphore), instructions.map(\.cookie),
                UInt32(instructions.count), pid ?? 0, asReturnProbes)
            guard descriptor >= 0 else { throw Self.refusal(instructions, file, code: -descriptor) }
            return
        }
        for instruction in instructions {
            var options = bpf_uprobe_opts()
            options.sz = MemoryLayout<bpf_uprobe_opts>.size
            options.retprobe = asReturnProbes
            options.bpf_cookie = instruction.cookie
            options.ref_ctr_offset = Int(instruction.place.semaphore)
            guard let link = bpf_program__attach_uprobe_opts(program, pid ?? -1, file, Int(instruction.place.offset), &options) else {
                let code = errno
                _ = kiln_libbpf_log_take()
                throw Self.refusal([instruction], file, code: code)
            }
            links.append(link)
        }
    }

    /// At functions of the kernel, by their addresses. All or nothing.
    init(of program: OpaquePointer, inKernelAt functions: [ProbedInstruction]) throws(KernelError) {
        guard !functions.isEmpty else { return }
        descriptor = kiln_attach_to_kernel_functions(
            bpf_program__fd(program), nil, functions.map(\.place.offset), functions.map(\.cookie), UInt32(functions.count))
        guard descriptor >= 0 else {
            throw KernelError(functions.count == 1 ? "probe it" : "probe \(functions.count) places of the kernel", code: -descriptor)
        }
    }

    /// At a function of the kernel that this process can call, to measure what that costs.
    init(ofTrialInKernel program: OpaquePointer, cookie: UInt64) throws(KernelError) {
        descriptor = kiln_attach_to_trial_function_of_kernel(bpf_program__fd(program), cookie)
        guard descriptor >= 0 else { throw KernelError("probe a function of the kernel", code: -descriptor) }
    }

    deinit {
        if descriptor >= 0 { close(descriptor) }
        for link in links.reversed() { bpf_link__destroy(link) }
    }

    private static func refusal(_ instructions: [ProbedInstruction], _ file: String, code: Int32) -> KernelError {
        let what =
            instructions.count == 1 ? "the instruction at offset 0x\(String(instructions[0].place.offset, radix: 16))" : "\(instructions.count) instructions"
        return KernelError("probe \(what) of \(file)", code: code)
    }
}

/// A file that this process maps as code. The kernel checks a probe's instruction only when some process maps the file. If none does, it accepts a probe
/// that it can't place later, and that probe counts nothing.
final class MappedCode {
    private let address: UnsafeMutableRawPointer
    private let size: Int

    init(_ path: String) throws(KernelError) {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { throw KernelError("open \(path)", code: errno) }
        defer { close(file) }
        var status = stat()
        guard fstat(file, &status) == 0, status.st_size > 0 else { throw KernelError("map \(path)", code: EINVAL) }
        let mapped = mmap(nil, Int(status.st_size), PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 0)
        guard let mapped, mapped != MAP_FAILED else {
            let code = errno
            throw KernelError(
                "map \(path) as code", code: code,
                remedy: code == EPERM || code == EACCES ? "If its file system is mounted noexec, kiln can't check probes of it." : nil)
        }
        address = mapped
        size = Int(status.st_size)
    }

    deinit { munmap(address, size) }

    /// Whether every kernel emulates the instruction at an offset (arch/x86/kernel/uprobes.c): pushes, jumps, calls and the nop of one byte, also behind 0x66.
    /// Others run in single step in a copy, which takes a second trap; in a virtual machine some ten times as long. Newer kernels emulate longer nops, too.
    func isEmulated(at offset: UInt64) -> Bool {
        guard offset + 2 <= UInt64(size) else { return false }
        let code = UnsafeRawBufferPointer(start: address, count: size), first = code[Int(offset)], second = code[Int(offset) + 1]
        return switch first {
        case 0x50...0x57, 0x90, 0xe8, 0xe9, 0xeb, 0x70...0x7f: true
        case 0x41: (0x50...0x57).contains(second)
        case 0x0f: (0x80...0x8f).contains(second)
        case 0x66: second == 0x90
        default: false
        }
    }
}
