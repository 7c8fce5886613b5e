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
    func configure(_ object: borrowing BPFObject) throws(KernelError) { try object.setConstant(section: ".rodata.filter", constants) }

    /// After loading. The kernel then knows the groups even if their directories are removed.
    func fill(_ object: borrowing BPFObject) throws(KernelError) {
        let groups = try object.map("cgroups")
        for (index, path) in controlGroups.enumerated() {
            let group = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
            guard group >= 0 else { throw KernelError("open the control group \(path)", code: errno) }
            defer { close(group) }
            do { try groups.update(UInt32(index), group) } catch {
                throw KernelError(
                    "follow the control group \(path)", code: error.code,
                    remedy: "Give a directory of a control group of version 2, as /proc/PID/cgroup names it in the line that begins with 0::.")
            }
        }
    }

    /// Whether a thread passes, by proc(5); false where control groups are asked for, which are not read there.
    func admits(_ tid: Int32, of pid: Int32) -> Bool {
        guard controlGroups.isEmpty, tids.isEmpty || tids.contains(tid) else { return false }
        if !names.isEmpty {
            let own = ["/proc/\(tid)/comm", "/proc/\(pid)/comm"].map { beginning(of: $0)?.dropLast() ?? [] }
            let most = Int(KILN_COMM_BYTES) - 1
            guard names.contains(where: { name in own.contains { $0.elementsEqual(name.utf8.prefix(most)) } }) else { return false }
        }
        guard !users.isEmpty else { return true }
        // Uid:	real	effective	...
        let status = String(decoding: beginning(of: "/proc/\(tid)/status") ?? [], as: UTF8.self)
        let real = status.split(separator: "\n").first { $0.hasPrefix("Uid:") }?.split(separator: "\t").dropFirst().first
        return real.flatMap { UInt32($0) }.map(users.contains) ?? false
    }

    private var constants: kiln_filter {
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

/// The first bytes of a file in /proc; nil if it can't be read.
private func beginning(of path: String) -> [UInt8]? {
    let file = open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { return nil }
    defer { close(file) }
    var bytes = [UInt8](repeating: 0, count: 1024)
    let count = read(file, &bytes, bytes.count)
    return count > 0 ? Array(bytes[..<count]) : nil
}
