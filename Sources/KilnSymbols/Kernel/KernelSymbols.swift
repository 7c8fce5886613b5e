import SystemPackage

/// Why the kernel's symbols can't be used.
public enum KernelSymbolsError: Error, Equatable, Sendable {
    case unreadable(path: String, Errno)
    /// The kernel shows zeros instead of addresses.
    case addressesHidden
    /// The text lists no function.
    case noFunctions
    /// Counted from 1.
    case notKallsyms(line: Int)
}

extension KernelSymbolsError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .unreadable(let path, let errno):
            "cannot read \(path): \(errno). Is /proc mounted, and the kernel built with CONFIG_KALLSYMS? Kernel frames stay unnamed."
        case .addressesHidden:
            "cannot name kernel functions: /proc/kallsyms shows only zero addresses. Run as root with CAP_SYSLOG, or set the sysctl kernel.kptr_restrict to 0 or 1."
        case .noFunctions:
            "cannot name kernel functions: /proc/kallsyms lists none. Is the kernel built with CONFIG_KALLSYMS?"
        case .notKallsyms(let line):
            "cannot name kernel functions: line \(line) of /proc/kallsyms is not 'address type name [module]'."
        }
    }
}

/// The kernel's functions from the text of /proc/kallsyms, searchable by address.
///
/// kallsyms has no sizes: a function extends to the next symbol of any kind, but at most `longestFunction`. Among functions at the same
/// address, a global one (T) beats a weak one (W, w), which beats a local one (t); then the shorter name wins, then the alphabetically
/// first.
public struct KernelSymbols: Sendable {
    /// A function that covers an address.
    public struct Match: Equatable, Sendable {
        public let name: String
        /// `[kernel]`, or the module as in kallsyms, such as `[ext4]` and `[bpf]`.
        public let module: String
        /// The address of the function's first byte.
        public let start: UInt64

        public init(name: String, module: String, start: UInt64) {
            self.name = name
            self.module = module
            self.start = start
        }
    }

    /// Code further away from a symbol does not belong to it, because the next symbol is in another memory region. The largest kernel
    /// functions have tens of KiB.
    public static let longestFunction: UInt64 = 1 << 20

    /// The number of named functions, aliases counted once.
    public let functionCount: Int

    /// The sorted starts of functions, and of other symbols that end one.
    private let starts: [UInt64]
    private let functions: [KernelFunction]
    private let names: [UInt8]
    private let modules: [String]

    /// Parses the text of a kallsyms file.
    public init(parsing bytes: [UInt8]) throws(KernelSymbolsError) {
        var parser = KallsymsParser()
        try bytes.withUnsafeBufferPointer { whole throws(KernelSymbolsError) in
            let used = try parser.parseLines(whole)
            try parser.parseLastLine(UnsafeBufferPointer(rebasing: whole[used...]))
        }
        try self.init(parser)
    }

    /// Reads the running kernel's symbols. Takes tens of milliseconds, mostly in the kernel, so it is called only for the first kernel
    /// frame.
    public init(readingFrom path: FilePath = "/proc/kallsyms") throws(KernelSymbolsError) {
        var parser = KallsymsParser()
        do {
            let file = try FileDescriptor.open(path, .readOnly, options: .closeOnExec)
            try file.closeAfter { try parser.read(file) }
        } catch let error as KernelSymbolsError {
            throw error
        } catch {
            throw .unreadable(path: path.string, error as? Errno ?? .ioError)
        }
        try self.init(parser)
    }

    private init(_ parser: consuming KallsymsParser) throws(KernelSymbolsError) {
        guard parser.functionLines > 0 else { throw .noFunctions }
        guard parser.sawNonzeroFunction else { throw .addressesHidden }
        let names = parser.names
        // Nearly sorted already (the kernel itself, then the modules), which Swift's sort exploits.
        names.withUnsafeBufferPointer { names in
            parser.lines.sort { one, other in
                if one.address != other.address { return one.address < other.address }
                if one.rank != other.rank { return one.rank < other.rank }
                if one.function.nameLength != other.function.nameLength {
                    return one.function.nameLength < other.function.nameLength
                }
                return names[one.function.name].lexicographicallyPrecedes(names[other.function.name])
            }
        }
        var starts: [UInt64] = []
        var functions: [KernelFunction] = []
        var named = 0
        for line in parser.lines where line.address != starts.last {
            // Of several consecutive non-functions, only the first one ends a function.
            if !line.function.isNamed && functions.last?.isNamed != true { continue }
            starts.append(line.address)
            functions.append(line.function)
            if line.function.isNamed { named += 1 }
        }
        self.starts = starts
        self.functions = functions
        self.names = names
        modules = parser.modules
        functionCount = named
    }

    /// The function that contains an address; nil if none does.
    public func function(at address: UInt64) -> Match? {
        guard let index = starts.lastIndex(startingAtOrBelow: address, start: { $0 }) else { return nil }
        let function = functions[index]
        guard function.isNamed, address - starts[index] < Self.longestFunction else { return nil }
        return Match(
            name: String(decoding: names[function.name], as: UTF8.self),
            module: modules[Int(function.module)], start: starts[index])
    }

    /// All functions, by address.
    public func forEachFunction(_ body: (_ name: String, _ module: String, _ address: UInt64) -> Void) {
        for (index, function) in functions.enumerated() where function.isNamed {
            body(String(decoding: names[function.name], as: UTF8.self), modules[Int(function.module)], starts[index])
        }
    }

    /// The functions of x86-64 with which an interrupt enters the kernel, from the first to behind the last; nil if there are none. Exceptions
    /// and system calls have others (arch/x86/include/asm/idtentry.h).
    public var interruptEntries: Range<UInt64>? {
        var first: UInt64?, end: UInt64?
        for (index, function) in functions.enumerated() where function.isNamed {
            let name = names[function.name]
            guard
                name.starts(with: "asm_sysvec_".utf8) || name.elementsEqual("asm_common_interrupt".utf8)
                    || name.elementsEqual("asm_spurious_interrupt".utf8), index + 1 < starts.count
            else { continue }
            first = first ?? starts[index]
            end = starts[index + 1]
        }
        return first.flatMap { first in end.map { first..<$0 } }
    }
}

/// Names kernel frames. Reads the kernel's symbols at the first frame. If that fails, it keeps the error.
public final class KernelSymbolizer {
    private lazy var symbols = Result { () throws(KernelSymbolsError) in try KernelSymbols(readingFrom: path) }
    private lazy var modules = KernelModules(readingFrom: modulesPath)
    private let path: FilePath
    private let modulesPath: FilePath

    public init(path: FilePath = "/proc/kallsyms", modules: FilePath = "/proc/modules") {
        self.path = path
        modulesPath = modules
    }

    /// As `KernelSymbols.interruptEntries`; nil if the symbols can't be read, too.
    public var interruptEntries: Range<UInt64>? { try? symbols.get().interruptEntries }

    public func symbolize(_ frame: FrameAddress) -> Symbol {
        let reason: UnknownReason
        switch symbols {
        case .failure(let error):
            reason = .kernelSymbols(error)
        case .success(let symbols):
            if let match = symbols.function(at: frame.lookupAddress) {
                return .function(name: match.name, module: match.module, offset: frame.address - match.start)
            }
            reason = .noKernelFunction
        }
        if let module = modules.place(of: frame.lookupAddress) {
            return .module(name: module.name, offset: frame.address - module.start, reason: reason)
        }
        return .unknown(address: frame.address, reason: reason)
    }
}
