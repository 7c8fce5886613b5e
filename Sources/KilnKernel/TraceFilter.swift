import CLibbpf
import Glibc
import KilnBPF
import KilnModel

/// Selects the requests that a trace emits. The kernel decides before anything is copied.
public struct TraceFilter: Sendable {
    /// A client: an address, and a port if it is not 0.
    public struct Client: Sendable {
        var address: kiln_trace_client

        /// Only one of its connections is meant.
        public var hasPort: Bool { address.port != 0 }
    }

    /// The largest number of names and of clients in a filter; an IPv4 address counts twice.
    public static let commandLimit = Int(KILN_TRACE_COMMANDS)
    public static let clientLimit = Int(KILN_TRACE_CLIENTS) / 2
    /// The largest number of captured bytes of a request, framing included.
    public static let requestLimit = Int(KILN_TRACE_REQUEST_BYTES)

    /// Only requests whose service took at least this long.
    public var slowerThan = Nanoseconds.zero
    /// Only requests whose reply is an error.
    public var errorsOnly = false
    /// Arguments and values of replies stay in the kernel.
    public var withoutArguments = false
    /// The captured bytes of a request, at most, framing included.
    public var requestBytes = requestLimit
    /// Only these names, in any case; empty: all.
    public var commands: [String] = []
    /// Only these clients; empty: all.
    public var clients: [Client] = []

    public init() {}

    /// Called before loading.
    func configure(_ object: borrowing BPFObject) throws(KernelError) {
        var options = kiln_trace_options()
        options.slower_than_ns = slowerThan.count
        options.errors_only = errorsOnly ? 1 : 0
        options.without_arguments = withoutArguments ? 1 : 0
        options.request_bytes = UInt32(clamping: min(requestBytes, Self.requestLimit))
        options.by_command = commands.isEmpty ? 0 : 1
        let wanted = clients.flatMap { client in [client.address] + client.mapped }
        options.clients = UInt32(min(wanted.count, Int(KILN_TRACE_CLIENTS)))
        withUnsafeMutableBytes(of: &options.client) { bytes in
            let entries = bytes.bindMemory(to: kiln_trace_client.self)
            for (index, client) in wanted.prefix(entries.count).enumerated() { entries[index] = client }
        }
        try object.setConstant(section: ".rodata.trace", options)
    }

    /// Called after loading, before attaching.
    func fill(_ object: borrowing BPFObject) throws(KernelError) {
        let names = try object.map("trace_names")
        var entries: [[UInt8]: kiln_trace_name] = [:]
        for index in 0..<kiln_secret_command_count() {
            let secret = kiln_secret_command(index)
            let name = withUnsafeBytes(of: secret.name) { Array($0) }
            entries[name, default: kiln_trace_name()].words = UInt8(secret.words)
        }
        for command in commands {
            entries[paddedName(command), default: kiln_trace_name()].traced = 1
        }
        for (name, entry) in entries {
            var key = kiln_command_name()
            withUnsafeMutableBytes(of: &key) { $0.copyBytes(from: name) }
            try names.update(key, entry)
        }
    }

}

/// In upper case, as the kernel stores names, padded with NUL.
func paddedName(_ name: String) -> [UInt8] {
    var bytes = Array(name.uppercased().utf8.prefix(Int(KILN_COMMAND_NAME_MAX)))
    bytes += [UInt8](repeating: 0, count: Int(KILN_COMMAND_NAME_MAX) - bytes.count)
    return bytes
}

extension TraceFilter.Client {
    /// `10.0.0.1`, `10.0.0.1:40000`, `::1`, `[::1]:40000` or `unix`; nil for anything else.
    public init?(_ text: String) {
        var client = kiln_trace_client()
        var host = text[...], port: Substring?
        if text.hasPrefix("["), let end = text.lastIndex(of: "]") {
            host = text[text.index(after: text.startIndex)..<end]
            let rest = text[text.index(after: end)...]
            guard rest.isEmpty || rest.hasPrefix(":") else { return nil }
            port = rest.isEmpty ? nil : rest.dropFirst()
        } else if let colon = text.firstIndex(of: ":"), text.firstIndex(of: ".").map({ $0 < colon }) ?? false {
            host = text[..<colon]
            port = text[text.index(after: colon)...]
        }
        if let port {
            guard let number = UInt16(port), number != 0 else { return nil }
            client.port = number.bigEndian
        }
        let parsed = withUnsafeMutableBytes(of: &client.address) { bytes in
            if text == "unix" { return KILN_ADDRESS_UNIX }
            if inet_pton(AF_INET, String(host), bytes.baseAddress) == 1 { return KILN_ADDRESS_IPV4 }
            return inet_pton(AF_INET6, String(host), bytes.baseAddress) == 1 ? KILN_ADDRESS_IPV6 : KILN_ADDRESS_UNKNOWN
        }
        guard parsed != KILN_ADDRESS_UNKNOWN else { return nil }
        client.family = parsed.rawValue
        address = client
    }

    /// As sessions print the address, without a port.
    public var text: String {
        var key = kiln_client_key()
        key.address = address.address
        key.family = UInt16(address.family)
        return ClientMaps.address(key)
    }

    /// The IPv4-mapped address of an IPv4 client (RFC 4291, 2.5.5.2), which a listener of IPv6 sees.
    var mapped: [kiln_trace_client] {
        guard address.family == KILN_ADDRESS_IPV4.rawValue else { return [] }
        var mapped = address
        mapped.family = KILN_ADDRESS_IPV6.rawValue
        let bytes = withUnsafeBytes(of: address.address) { Array($0.prefix(4)) }
        withUnsafeMutableBytes(of: &mapped.address) { $0.copyBytes(from: [UInt8](repeating: 0, count: 10) + [0xff, 0xff] + bytes) }
        return [mapped]
    }
}
