import FoundationEssentials
import Glibc

/// The directories where control groups of version 2 are mounted.
func controlGroupMounts() -> [String] {
    let mounts = (try? String(contentsOfFile: "/proc/self/mounts", encoding: .utf8)) ?? ""
    return mounts.split(separator: "\n").compactMap { line in
        // device, directory, type
        let fields = line.split(separator: " ")
        return fields.count > 2 && fields[2] == "cgroup2" ? String(fields[1]) : nil
    }
}

/// Paths of control groups of version 2 by their numbers, which are the inode numbers of their directories.
final class ControlGroupNames {
    private var paths: [UInt64: String] = [:]
    /// Groups that were not found; they are not looked for again.
    private var unknown: Set<UInt64> = []

    /// The path below the place where groups are mounted, as /proc/PID/cgroup has it; nil if the group is gone.
    func path(of id: UInt64) -> String? {
        if let path = paths[id] { return path }
        guard !unknown.contains(id) else { return nil }
        for mount in controlGroupMounts() { read(mount, "/") }
        if paths[id] == nil { unknown.insert(id) }
        return paths[id]
    }

    private func read(_ mount: String, _ path: String) {
        var status = stat()
        guard stat(mount + path, &status) == 0 else { return }
        paths[UInt64(status.st_ino)] = path
        guard let directory = opendir(mount + path) else { return }
        defer { closedir(directory) }
        while let entry = readdir(directory) {
            guard entry.pointee.d_type == UInt8(DT_DIR) else { continue }
            let name = withUnsafePointer(to: &entry.pointee.d_name) { $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) } }
            if name != ".", name != ".." { read(mount, path == "/" ? "/" + name : "\(path)/\(name)") }
        }
    }
}
