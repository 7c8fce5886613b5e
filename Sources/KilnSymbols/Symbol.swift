/// What is known about the code at an address. Not knowing is a value too, with its reason.
public enum Symbol: Equatable, Sendable {
    /// A named function. `offset` is the distance in bytes of the frame's own address (a return
    /// address is not moved) from the function's first byte.
    case function(name: String, module: String, offset: UInt64)

    /// A function that a compiler put into its caller. It has no address of its own, and no offset.
    case inlined(name: String, module: String)

    /// A function of just-in-time compiled code, named by the map that its compiler writes.
    case generated(name: String, offset: UInt64)

    /// No name, but the file is known. `offset` is the address inside the file as `nm`, `objdump`
    /// and `addr2line` count it (the ELF virtual address), or the plain file offset where the
    /// file could not be read as ELF.
    case module(name: String, offset: UInt64, reason: UnknownReason)

    /// Neither name nor file.
    case unknown(address: UInt64, reason: UnknownReason)

    /// Why there is no name, and in which file; nil where there is a name.
    public var unnamed: (module: String?, reason: UnknownReason)? {
        switch self {
        case .function, .inlined, .generated: nil
        case .module(let module, _, let reason): (module, reason)
        case .unknown(_, let reason): (nil, reason)
        }
    }
}

/// Why an address has no function's name.
public enum UnknownReason: Equatable, Sendable {
    /// No executable mapping of the process holds the address: often a stack that was unwound wrongly.
    case noMapping
    /// Executable memory that no file stands behind: just-in-time compiled code.
    case anonymousMemory
    /// The same, and the compiler's map in /tmp doesn't name it; `isCut`: the map is too long to be read whole.
    case noGeneratedFunction(isCut: Bool)
    /// The same, and the compiler's map can't be used.
    case unusableMap(SymbolFileError)
    /// The mapped file, or vDSO, could not be opened or understood.
    case unreadable(SymbolFileError)
    /// The file offset lies in no loadable executable segment of the file.
    case outsideSegments
    /// The file has no function symbols at all.
    case noSymbolTable
    /// What was stripped from the file lies in a debug file or section that can't be used.
    case unusableDebugFile(SymbolFileError)
    /// No symbol's bytes cover the address. With only dynamic symbols that is normal for static functions.
    case noSymbolCovers(onlyDynamicSymbols: Bool)
    /// /proc/kallsyms could not be used.
    case kernelSymbols(KernelSymbolsError)
    /// The address is not inside any function that /proc/kallsyms lists.
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
