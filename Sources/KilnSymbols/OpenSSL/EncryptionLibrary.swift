import Glibc
import SystemPackage

/// The TLS library of a process, from its mappings.
public enum EncryptionLibrary: Equatable, Sendable {
    /// OpenSSL, or a fork with the same function names. `path` leads to the mapped file itself, even if it is deleted or in another mount
    /// namespace, while the process lives.
    case openSSL(name: String, path: String)
    /// A library with other functions.
    case other(name: String)
    /// No library is mapped: the process does not encrypt, or its library is linked statically and stripped.
    case unknown

    /// Libraries with other functions, by the beginning of their file names.
    private static let others = ["libgnutls.so", "libmbedtls.so", "libwolfssl.so", "libs2n.so", "libssl3.so", "librustls.so"]

    /// Checks the mappings of a running process; without a library there, the symbols of its program.
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

    /// `directory`: the process's directory in /proc.
    init(_ mappings: ProcessMappings, directory: String) {
        let code = mappings.mappings.filter { $0.permissions.contains(.execute) }
        func first(_ prefix: String) -> (name: String, mapping: Mapping)? {
            for mapping in code {
                if case .file = mapping.backing, let name = mapping.moduleName, name.hasPrefix(prefix) { return (name, mapping) }
            }
            return nil
        }
        if let (name, mapping) = first("libssl.so"), case .file(let path, _) = mapping.backing {
            // The link needs CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE; the path may lead to another file now.
            let link = directory + "/map_files/" + String(mapping.start, radix: 16) + "-" + String(mapping.end, radix: 16)
            self = .openSSL(name: name, path: access(link, R_OK) == 0 ? link : directory + "/root" + path)
        } else if let other = Self.others.lazy.compactMap({ first($0) }).first {
            self = .other(name: other.name)
        } else {
            self = .unknown
        }
    }
}
