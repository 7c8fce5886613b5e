import SystemPackage

/// The functions of the running kernel.
public struct KernelFunctions: Sendable {
    public struct Function: Equatable, Sendable {
        public let name: String
        /// `[kernel]`, or the module's name in brackets.
        public let module: String
        /// Nil: the list has no addresses.
        public let address: UInt64?
    }

    /// By the order of the kernel's list.
    public let functions: [Function]
    /// The kernel's own list of functions that can be probed. Otherwise they are all functions of /proc/kallsyms, and the kernel refuses to probe
    /// some of them.
    public let areKnownAsProbeable: Bool

    /// Reads the kernel's list where tracefs is mounted and readable, /proc/kallsyms otherwise.
    public init(
        readingFrom lists: [FilePath] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"].map { FilePath($0).appending("available_filter_functions") },
        symbols: FilePath = "/proc/kallsyms"
    ) throws(KernelSymbolsError) {
        for list in lists {
            guard let file = try? FileDescriptor.open(list, .readOnly, options: .closeOnExec) else { continue }
            defer { try? file.close() }
            guard let text = try? file.readToEnd(), !text.isEmpty else { continue }
            functions = Self.parse(text)
            areKnownAsProbeable = true
            return
        }
        var found: [Function] = []
        try KernelSymbols(readingFrom: symbols).forEachFunction { name, module, address in
            // Parts of functions, which nobody calls.
            if !name.hasSuffix(".cold") { found.append(Function(name: name, module: module, address: address)) }
        }
        functions = found
        areKnownAsProbeable = false
    }

    /// Lines of `name` or `name [module]`. A name may be there twice, and is probed at all places at once.
    static func parse(_ text: [UInt8]) -> [Function] {
        var functions: [Function] = [], known: Set<String> = []
        for line in text.split(separator: UInt8(ascii: "\n")) {
            let line = String(decoding: line, as: UTF8.self), fields = line.split(separator: " ", maxSplits: 1)
            guard let name = fields.first.map(String.init), known.insert(line).inserted else { continue }
            functions.append(Function(name: name, module: fields.count > 1 ? String(fields[1]) : "[kernel]", address: nil))
        }
        return functions
    }
}
