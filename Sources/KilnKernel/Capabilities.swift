import Glibc

/// What this process and this kernel must allow before anything is tried.
public enum Capabilities {
    /// Why kiln can't run here at all: one line.
    public struct Missing: Error, CustomStringConvertible {
        public let description: String
    }

    /// The capabilities that loading, attaching and reading other processes need, by their bit (capabilities(7)).
    private static let needed: [(bit: UInt64, name: String)] = [
        (38, "CAP_PERFMON"), (39, "CAP_BPF"), (12, "CAP_NET_ADMIN"), (19, "CAP_SYS_PTRACE"), (2, "CAP_DAC_READ_SEARCH"),
    ]

    /// Throws unless this process is privileged enough and the kernel describes itself.
    public static func require(typeInformation types: String = "/sys/kernel/btf/vmlinux") throws(Missing) {
        let missing = missingCapabilities
        guard missing.isEmpty else {
            throw Missing(description: "cannot profile: \(missing.joined(separator: ", ")) missing. Run as root (sudo kiln ...), or grant the process these capabilities.")
        }
        guard access(types, R_OK) == 0 else {
            throw Missing(description: "cannot read \(types): this kernel has no BTF type information. kiln needs a kernel built with CONFIG_DEBUG_INFO_BTF=y (as the usual distributions have), Linux 5.17 or later.")
        }
    }

    private static var missingCapabilities: [String] {
        guard let file = fopen("/proc/self/status", "re") else { return [] }
        defer { fclose(file) }
        var line: UnsafeMutablePointer<CChar>?
        var room = 0
        defer { free(line) }
        while getline(&line, &room, file) > 0, let text = line.map({ String(cString: $0) }) {
            guard text.hasPrefix("CapEff:") else { continue }
            let digits = text.dropFirst("CapEff:".count).filter(\.isHexDigit)
            guard let effective = UInt64(digits, radix: 16) else { return [] }
            // CAP_SYS_ADMIN stood for the first two before Linux 5.8 and still does.
            let administrator = effective & (1 << 21) != 0
            return needed.filter { effective & (1 << $0.bit) == 0 && !(administrator && $0.bit >= 38) }.map(\.name)
        }
        return []
    }
}
