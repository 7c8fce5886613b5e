/// The result of looking up an address. If there is no name, it has the reason.
public enum Symbol: Equatable, Sendable {
    /// A named function. `offset` is the distance in bytes from the function's first byte to the frame's own address (without the minus one
    /// of a return address).
    case function(name: String, module: String, offset: UInt64)

    /// A function that was inlined into its caller. It has no address and no offset of its own.
    case inlined(name: String, module: String)

    /// A just-in-time compiled function, named in the map that its compiler writes.
    case generated(name: String, offset: UInt64)

    /// No name, but the file is known. `offset` is the ELF virtual address, as in `nm`, `objdump` and `addr2line`: where the function begins by the
    /// file's call frame information, or the frame's own address without; or the file offset if the file could not be read as ELF.
    case module(name: String, offset: UInt64, reason: UnknownReason)

    /// Neither name nor file.
    case unknown(address: UInt64, reason: UnknownReason)

    /// The reason why there is no name, and the file; nil if there is a name.
    public var unnamed: (module: String?, reason: UnknownReason)? {
        switch self {
        case .function, .inlined, .generated: nil
        case .module(let module, _, let reason): (module, reason)
        case .unknown(_, let reason): (nil, reason)
        }
    }
}

/// A function on a stack, and where in its source code it is.
public struct PlacedSymbol: Equatable, Sendable {
    public let symbol: Symbol
    /// Of the call of the next inner function; of the innermost one, the instruction that runs. Nil: not known.
    public let place: SourcePlace?
    /// Where its code is. Nil: in memory without a file, in the kernel, or not known.
    public let file: CodeFile?

    public init(symbol: Symbol, place: SourcePlace? = nil, file: CodeFile? = nil) {
        self.symbol = symbol
        self.place = place
        self.file = file
    }
}

/// A file that processes run code of.
public struct CodeFile: Hashable, Sendable {
    /// As the process sees it. Of a program that was executed by a link only the link's name: where the link lies is not known.
    public let path: String
    /// Hexadecimal; nil if the file has none or could not be read.
    public let buildID: String?
}

/// The reason why an address has no function name.
public enum UnknownReason: Equatable, Sendable {
    /// No executable mapping of the process contains the address, often because the stack was unwound wrongly.
    case noMapping
    /// Executable memory without a file: just-in-time compiled code.
    case anonymousMemory
    /// Such memory, and the compiler's map in /tmp has no name for it. `isCut`: the map is too long and was read in part.
    case noGeneratedFunction(isCut: Bool)
    /// Such memory, and the compiler's map is unusable.
    case unusableMap(SymbolFileError)
    /// The mapped file, or vDSO, could not be opened or parsed.
    case unreadable(SymbolFileError)
    /// The file offset is outside the file's loadable executable segments.
    case outsideSegments
    /// The file has no function symbols.
    case noSymbolTable
    /// The stripped symbols are in a debug file or section that is unusable.
    case unusableDebugFile(SymbolFileError)
    /// No symbol covers the address. With only dynamic symbols this is normal for static functions.
    case noSymbolCovers(onlyDynamicSymbols: Bool)
    /// /proc/kallsyms is unusable.
    case kernelSymbols(KernelSymbolsError)
    /// The address is not inside any function in /proc/kallsyms.
    case noKernelFunction
}

extension UnknownReason: CustomStringConvertible {
    public var description: String {
        switch self {
        case .noMapping: "no executable mapping holds this address"
        case .anonymousMemory: "executable memory without a file, such as just-in-time compiled code, and no /tmp/perf-PID.map that names it"
        case .noGeneratedFunction(isCut: false): "just-in-time compiled code that /tmp/perf-PID.map doesn't name"
        case .noGeneratedFunction(isCut: true):
            "just-in-time compiled code that the part of /tmp/perf-PID.map that was read doesn't name; the map is too long"
        case .unusableMap(let error): error.description
        case .unreadable(let error): error.description
        case .outsideSegments: "outside the executable segments of the file"
        case .noSymbolTable: "the file has no function symbols"
        case .unusableDebugFile(let error): error.description
        case .noSymbolCovers(onlyDynamicSymbols: true):
            "no symbol covers this address; the file is stripped to its dynamic symbols, and no debug file was found"
        case .noSymbolCovers(onlyDynamicSymbols: false): "no symbol covers this address"
        case .kernelSymbols(let error): error.description
        case .noKernelFunction: "not inside any function of /proc/kallsyms"
        }
    }
}
