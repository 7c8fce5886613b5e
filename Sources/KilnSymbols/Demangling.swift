import CDemangle

/// The source name of a linker symbol: C++ and Rust (both schemes) without parameters and hashes, Swift as its own tools print it. Nil for
/// other names, such as those of C.
///
/// `@plt` stays after the name. Suffixes that GCC and LLVM add to clones and cold parts of functions (`.isra.0`, `.cold`, `.llvm.1234`) are
/// removed with the parameters.
public func demangled(_ name: String) -> String? {
    let stub = "@plt"
    if name.hasSuffix(stub) { return demangled(String(name.dropLast(stub.count))).map { $0 + stub } }
    let bytes = name.utf8
    guard bytes.count > 2, bytes.count <= Demangling.longestSymbol else { return nil }
    switch bytes.prefix(2) {
    case let start where start.elementsEqual("_Z".utf8) || start.elementsEqual("_R".utf8):
        return Demangling.text { kiln_demangle_itanium_or_rust(name, $0, $1) }
    case let start where start.elementsEqual("$s".utf8) || start.elementsEqual("$S".utf8) || bytes.starts(with: "_T0".utf8):
        return Demangling.text { kiln_demangle_swift(name, bytes.count, $0, $1) }
    default:
        return nil
    }
}

/// The source name of a C++ symbol with its parameters, which tell overloaded functions apart. Nil for other names.
public func demangledSignature(_ name: String) -> String? {
    guard name.hasPrefix("_Z"), name.utf8.count <= Demangling.longestSymbol else { return nil }
    return Demangling.text { kiln_demangle_itanium_signature(name, $0, $1) }
}

private enum Demangling {
    /// Longer symbols stay mangled; they occur in generated code and would be unreadable. The limit for C++ is 1 KiB, above which libiberty
    /// needs a flag for unlimited recursion.
    static let longestSymbol = 4096
    /// Symbols whose demangled name is longer stay mangled, too.
    static let longestName = 16 * 1024

    static func text(_ write: (UnsafeMutablePointer<CChar>, Int) -> Int) -> String? {
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: longestName) { room in
            guard let start = room.baseAddress else { return nil }
            let count = write(start, room.count)
            guard count > 0 else { return nil }
            return String(decoding: UnsafeRawBufferPointer(start: start, count: count), as: UTF8.self)
        }
    }
}
