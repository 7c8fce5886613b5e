// The container of a process, from the path of its control group.

/// A container, as its control group describes it.
public struct Container: Hashable, Sendable, CustomStringConvertible {
    public enum Runtime: String, Hashable, Sendable {
        case docker, podman, containerd, lxc
        case crio = "cri-o"
        case systemdNspawn = "systemd-nspawn"
        /// A pod's container whose group doesn't name the runtime.
        case kubernetes
        /// The group's name is a container id (64 hexadecimal digits) without a runtime.
        case unknown = "container"
    }

    public var runtime: Runtime
    /// The full id (64 hexadecimal digits), or the name for LXC and systemd-nspawn.
    public var id: String
    /// The UID of the pod, for a container of Kubernetes.
    public var pod: String?

    public init(runtime: Runtime, id: String, pod: String? = nil) {
        self.runtime = runtime
        self.id = id
        self.pod = pod
    }

    /// The first 12 digits, as `docker ps` and `crictl ps` print them; names in full.
    public var shortID: String { Self.isHexadecimalID(Bytes(id.utf8)) ? String(id.prefix(12)) : id }

    /// "docker 0123456789ab"
    public var description: String { "\(runtime.rawValue) \(shortID)" }

    /// The innermost container in the text of /proc/PID/cgroup; nil for a process outside of containers.
    ///
    /// Reads version 2 (one line, `0::/path`), version 1 (a line for each controller), and both at once. Any line may name the container.
    public init?(parsingCgroup bytes: [UInt8]) {
        for line in bytes[...].lines {
            // hierarchy-ID:controller-list:path; the path may contain colons.
            let parts = line.split(separator: UInt8(ascii: ":"), maxSplits: 2, omittingEmptySubsequences: false)
            guard parts.count == 3 else { continue }
            let components = parts[2].split(separator: UInt8(ascii: "/")).map { $0.text }
            if let container = Container(groupPath: components) { self = container; return }
        }
        return nil
    }

    /// Containers nest (docker in LXC, kind in docker): the deepest component that names one is used.
    private init?(groupPath components: [String]) {
        for (index, component) in components.enumerated().reversed() {
            let parent = index > 0 ? components[index - 1] : ""
            guard var found = Self.named(component, under: parent, ancestors: components[..<index]) else { continue }
            found.pod = components[...index].reversed().lazy.compactMap(Self.podUID).first
            self = found
            return
        }
        return nil
    }

    private static func named(_ component: String, under parent: String, ancestors: ArraySlice<String>) -> Container? {
        let unit = component.droppingSuffix(".scope")
        // systemd driver: docker-ID.scope, cri-containerd-ID.scope, crio-ID.scope, libpod-ID.scope, nerdctl-ID.scope. libpod-conmon-ID and
        // crio-conmon-ID are monitors outside the container; the part after the runtime is not an ID there. containerd without a pod slice
        // writes SLICE:cri-containerd:ID.
        let separators: [Character] = ["-", ":"]
        for separator in separators {
            guard let cut = unit.lastIndex(of: separator) else { continue }
            let id = String(unit[unit.index(after: cut)...])
            guard isHexadecimalID(Bytes(id.utf8)) else { continue }
            let prefix = String(unit[..<cut])
            if let runtime = runtimes[prefix.split(separator: ":").last.map(String.init) ?? prefix] {
                return Container(runtime: runtime, id: id)
            }
        }
        // cgroupfs driver: /docker/ID, /kubepods/burstable/podUID/ID, /libpod_parent/libpod-ID, /default/ID (nerdctl), /ID.
        if isHexadecimalID(Bytes(unit.utf8)) {
            if parent == "docker" { return Container(runtime: .docker, id: unit) }
            if parent == "libpod_parent" { return Container(runtime: .podman, id: unit) }
            if podUID(parent) != nil || ancestors.contains(where: { $0.hasPrefix("kubepods") }) {
                return Container(runtime: .kubernetes, id: unit)
            }
            return Container(runtime: .unknown, id: unit)
        }
        // LXC 4 and later: lxc.payload.NAME; before: /lxc.payload/NAME and /lxc/NAME. lxc.monitor.NAME is outside.
        if let name = component.droppingPrefix("lxc.payload."), !name.isEmpty { return Container(runtime: .lxc, id: name) }
        if parent == "lxc" || parent == "lxc.payload" { return Container(runtime: .lxc, id: component) }
        if let name = unit.droppingPrefix("systemd-nspawn@") {
            return Container(runtime: .systemdNspawn, id: name.droppingSuffix(".service"))
        }
        return nil
    }

    private static let runtimes: [String: Runtime] = [
        "docker": .docker, "cri-containerd": .containerd, "containerd": .containerd, "nerdctl": .containerd,
        "crio": .crio, "libpod": .podman,
    ]

    /// Docker, containerd, CRI-O and podman name containers by 32 random bytes in hexadecimal.
    private static func isHexadecimalID(_ bytes: Bytes) -> Bool {
        bytes.count == 64 && bytes.allSatisfy { $0.digitValue != nil }
    }

    /// The UID in `podUID` or `kubepods-burstable-podUID.slice` (systemd replaces "-" by "_").
    private static func podUID(_ component: String) -> String? {
        let unit = component.droppingSuffix(".slice")
        guard let name = unit.split(separator: "-pod").last.map(String.init) else { return nil }
        let uid = unit.hasPrefix("kubepods") ? (name == unit ? nil : name) : unit.droppingPrefix("pod")
        let dash = UInt8(ascii: "-"), underscore = UInt8(ascii: "_")
        guard let uid, uid.utf8.count >= 32,
            uid.utf8.allSatisfy({ $0.digitValue != nil || $0 == dash || $0 == underscore })
        else { return nil }
        return uid.split(separator: "_").joined(separator: "-")
    }
}

extension String {
    func droppingSuffix(_ suffix: String) -> String { hasSuffix(suffix) ? String(dropLast(suffix.count)) : self }
    func droppingPrefix(_ prefix: String) -> String? { hasPrefix(prefix) ? String(dropFirst(prefix.count)) : nil }
}
