// Proxies that listen on a host port and forward its bytes to a server in a container. With --port, kiln would otherwise measure the proxy
// instead of the server.

/// A process that forwards a host port into a container.
struct ContainerProxy: Hashable, Sendable {
    /// The destination of the bytes, from the command line.
    enum Destination: Hashable, Sendable {
        /// docker-proxy: `-container-ip 172.17.0.2 -container-port 6379`
        case address(IPAddress, port: UInt16)
        /// conmon: `-c ID`
        case container(id: String)
        case unknown

        var description: String {
            switch self {
            case .address(let address, let port): "to " + DiscoveryError.endpoint(address, port)
            case .container(let id): "into container " + id.prefix(12)
            case .unknown: "into a container"
            }
        }
    }

    var name: String
    var destination: Destination

    /// Nil for a process that is not a proxy.
    init?(comm: String, exe: String?, arguments: [String]) {
        let candidates = [exe?.droppingSuffix(" (deleted)").baseName, arguments.first?.baseName, comm]
        if let name = candidates.lazy.compactMap({ $0 }).first(where: Self.names.contains) {
            // pasta installs a variant for CPUs with AVX2.
            self.name = name.droppingSuffix(".avx2")
        } else if comm == "lxd" || comm == "incusd", arguments.dropFirst().first == "forkproxy" {
            self.name = "\(comm) forkproxy"
        } else {
            return nil
        }
        destination = Self.destination(name: name, arguments: arguments)
    }

    private static func destination(name: String, arguments: [String]) -> Destination {
        switch name {
        case "docker-proxy":
            guard let address = option("container-ip", in: arguments).flatMap({ IPAddress($0) }),
                let port = option("container-port", in: arguments).flatMap({ UInt16($0) })
            else { return .unknown }
            return .address(address, port: port)
        case "conmon":
            return (option("c", in: arguments) ?? option("cid", in: arguments)).map { .container(id: $0) } ?? .unknown
        default:
            return .unknown
        }
    }

    /// The value of `-name VALUE`, `--name VALUE`, `-name=VALUE` or `--name=VALUE`.
    private static func option(_ name: String, in arguments: [String]) -> String? {
        for (index, argument) in arguments.enumerated() where argument.hasPrefix("-") {
            let text = argument.drop { $0 == "-" }
            if text == name { return arguments[(index + 1)...].first }
            if text.hasPrefix(name + "=") { return String(text.dropFirst(name.count + 1)) }
        }
        return nil
    }

    private static let names: Set<String> = [
        "docker-proxy",
        "dockerd",  // ingress ports of swarm mode
        "rootlesskit", "rootlessport", "slirp4netns", "pasta", "pasta.avx2", "passt", "passt.avx2",
        "conmon",  // keeps the host's port reserved for podman's packet filter
        "kube-proxy", "gvproxy", "vpnkit", "vpnkit-forwarder",
    ]
}
