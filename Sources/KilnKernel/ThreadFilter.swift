import CLibbpf
import Glibc
import KilnBPF

/// Which threads of the watched processes a session records. Empty lists: all of them.
public struct ThreadFilter: Sendable {
    public var tids: [Int32] = []
    /// Names of threads or of their processes.
    public var names: [String] = []
    /// Real user ids.
    public var users: [UInt32] = []
    /// Directories of control groups of version 2; those below are included.
    public var controlGroups: [String] = []

    public init() {}

    public var isEmpty: Bool { tids.isEmpty && names.isEmpty && users.isEmpty && controlGroups.isEmpty }

    /// The largest number of each.
    public static let limits = (
        tids: Int(KILN_FILTER_TIDS), names: Int(KILN_FILTER_COMMS), users: Int(KILN_FILTER_USERS), controlGroups: Int(KILN_FILTER_CGROUPS)
    )

    /// Before loading.
    func configure(_ object: borrowing BPFObject) throws(KernelError) { try object.setConstant(section: ".rodata.filter", constants(try ids())) }

    /// The ids of the control groups: the inode numbers of their directories.
    private func ids() throws(KernelError) -> [UInt64] {
        var ids: [UInt64] = []
        for path in controlGroups {
            var status = stat()
            guard stat(path, &status) == 0 else { throw KernelError("open the control group \(path)", code: errno) }
            // Each group of version 2 has it, and no other directory.
            guard access(path + "/cgroup.controllers", F_OK) == 0 else {
                throw KernelError(
                    "follow the control group \(path)", code: EBADF,
                    remedy: "Give a directory of a control group of version 2, as /proc/PID/cgroup names it in the line that begins with 0::.")
            }
            ids.append(UInt64(status.st_ino))
        }
        return ids
    }

    private func constants(_ groups: [UInt64]) -> kiln_filter {
        var filter = kiln_filter()
        filter.tid_count = UInt32(min(tids.count, Self.limits.tids))
        filter.comm_count = UInt32(min(names.count, Self.limits.names))
        filter.user_count = UInt32(min(users.count, Self.limits.users))
        filter.cgroup_count = UInt32(min(controlGroups.count, Self.limits.controlGroups))
        withUnsafeMutableBytes(of: &filter.tids) { bytes in
            for (slot, tid) in zip(bytes.bindMemory(to: UInt32.self).indices, tids) { bytes.bindMemory(to: UInt32.self)[slot] = UInt32(bitPattern: tid) }
        }
        withUnsafeMutableBytes(of: &filter.users) { bytes in
            for (slot, user) in zip(bytes.bindMemory(to: UInt32.self).indices, users) { bytes.bindMemory(to: UInt32.self)[slot] = user }
        }
        withUnsafeMutableBytes(of: &filter.cgroups) { bytes in
            for (slot, group) in zip(bytes.bindMemory(to: UInt64.self).indices, groups) { bytes.bindMemory(to: UInt64.self)[slot] = group }
        }
        withUnsafeMutableBytes(of: &filter.comms) { bytes in
            let length = Int(KILN_COMM_BYTES)
            for (slot, name) in names.prefix(Self.limits.names).enumerated() {
                // The kernel keeps so many bytes, and a zero.
                for (position, byte) in name.utf8.prefix(length - 1).enumerated() { bytes[slot * length + position] = byte }
            }
        }
        return filter
    }
}
