import CLibbpf
import Foundation
import Glibc

/// BPF programs, by the number that the kernel gave them: other sessions load programs of the same names.
enum LoadedPrograms {
    /// Those that a process holds a descriptor of (`prog_id` in /proc/PID/fdinfo).
    static func held(by pid: Int32) throws -> Set<UInt32> {
        let folder = "/proc/\(pid)/fdinfo"
        let descriptors = try FileManager.default.contentsOfDirectory(atPath: folder)
        return Set(
            descriptors.compactMap { descriptor in
                let text = (try? String(contentsOfFile: "\(folder)/\(descriptor)", encoding: .utf8)) ?? ""
                let line = text.split(separator: "\n").first { $0.hasPrefix("prog_id:") }
                return line.flatMap { UInt32($0.dropFirst("prog_id:".count).trimmingCharacters(in: .whitespaces)) }
            })
    }

    /// Whether the kernel still has it.
    static func exists(_ id: UInt32) -> Bool {
        let fd = bpf_prog_get_fd_by_id(id)
        guard fd >= 0 else { return false }
        close(fd)
        return true
    }
}
