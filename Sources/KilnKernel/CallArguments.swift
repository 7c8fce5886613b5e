import Glibc
import KilnModel

/// The arguments that system calls take, as the kernel's tracepoints of calls declare them in tracefs.
public struct CallArguments {
    private var known: [SystemCall: [CallArgument]?] = [:]
    private let directory: String?

    public init() {
        directory = HostEvents.directories.map { $0 + "/syscalls" }.first { access($0, R_OK) == 0 }
    }

    /// Tracefs is mounted.
    public var isKnown: Bool { directory != nil }

    /// Nil: it is not known which.
    public mutating func of(_ call: SystemCall) -> [CallArgument]? {
        if let arguments = known[call] { return arguments }
        let arguments = declared(of: call)
        known[call] = arguments
        return arguments
    }

    private func declared(of call: SystemCall) -> [CallArgument]? {
        guard let directory else { return nil }
        for name in [call.name, HostEvents.otherNames[call.name]].compactMap(\.self) {
            guard let text = contents(of: "\(directory)/sys_enter_\(name)/format") else { continue }
            return Self.arguments(inFormat: text)
        }
        return nil
    }

    /// `field:const char * filename;	offset:24;	size:8;	signed:0;`, behind the number of the call.
    static func arguments(inFormat text: String) -> [CallArgument] {
        text.split(separator: "\n").drop { !$0.contains("__syscall_nr") }.dropFirst().compactMap { line in
            guard let field = line.firstRange(of: "field:"), let end = line[field.upperBound...].firstIndex(of: ";") else { return nil }
            let declaration = String(line[field.upperBound..<end])
            // Some kernels add the text that a pointer leads to, as `__data_loc`.
            return declaration.contains("__data_loc") ? nil : CallArgument(declaration: declaration)
        }
    }

    private func contents(of path: String) -> String? {
        guard let file = fopen(path, "re") else { return nil }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 1 << 14)
        let count = fread(&bytes, 1, bytes.count, file)
        return String(decoding: bytes.prefix(count), as: UTF8.self)
    }
}
