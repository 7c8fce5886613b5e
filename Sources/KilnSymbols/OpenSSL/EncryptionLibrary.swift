import Glibc
import SystemPackage

/// What a process encrypts its connections with, as far as its mappings tell.
public enum EncryptionLibrary: Equatable, Sendable {
    /// OpenSSL, or one of its kin that names its functions alike. `path` leads to the very file that is mapped, deleted or not, in
    /// whatever mount namespace, as long as the process lives.
    case openSSL(name: String, path: String)
    /// A library of other functions.
    case other(name: String)
    /// None is mapped: the process encrypts nothing, or with what was linked into it and stripped.
    case unknown

    /// Libraries of other functions, by how their files' names begin.
    private static let others = ["libgnutls.so", "libmbedtls.so", "libwolfssl.so", "libs2n.so", "libssl3.so", "librustls.so"]

    /// Looks at the mappings of a running process; where no library is among them, at the symbols of its program.
    public init(ofProcess pid: Int32) {
        self = .unknown
        let directory = "/proc/\(pid)"
        guard let maps = try? OpenFile(at: FileDescriptor(rawValue: AT_FDCWD), directory + "/maps"),
            let bytes = try? maps.descriptor.readToEnd(), let mappings = try? ProcessMappings(parsing: bytes)
        else { return }
        self.init(mappings, directory: directory)
        guard self == .unknown, let linked = try? fileOffsets(ofFunctions: ["SSL_read"], inFile: directory + "/exe"), !linked.isEmpty
        else { return }
        self = .openSSL(name: "its program", path: directory + "/exe")
    }

    /// `directory`: the process's in /proc.
    init(_ mappings: ProcessMappings, directory: String) {
        let code = mappings.mappings.filter { $0.permissions.contains(.execute) }
        func first(_ prefix: String) -> (name: String, mapping: Mapping)? {
            for mapping in code {
                if case .file = mapping.backing, let name = mapping.moduleName, name.hasPrefix(prefix) { return (name, mapping) }
            }
            return nil
        }
        if let (name, mapping) = first("libssl.so"), case .file(let path, _) = mapping.backing {
            // The link needs CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE, the path may be another file by now.
            let link = directory + "/map_files/" + String(mapping.start, radix: 16) + "-" + String(mapping.end, radix: 16)
            self = .openSSL(name: name, path: access(link, R_OK) == 0 ? link : directory + "/root" + path)
        } else if let other = Self.others.lazy.compactMap({ first($0) }).first {
            self = .other(name: other.name)
        } else {
            self = .unknown
        }
    }
}
