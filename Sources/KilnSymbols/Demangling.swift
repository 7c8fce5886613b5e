import CDemangle

/// What a compiler's symbol is called in the source it was compiled from: C++ and Rust (both of its schemes) without lists of
/// parameters and without hashes, Swift as its own tools write it. Nil for names that are none of these, such as C's.
///
/// `@plt` stays behind the name. What GCC and LLVM append to a function's clones and cold parts (`.isra.0`, `.cold`,
/// `.llvm.1234`) is dropped with the parameters.
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

private enum Demangling {
    /// A longer symbol stays as it is: generated code has a few, and nobody could read them anyway. C++ symbols stay from 1 KiB
    /// on: so much libiberty takes on without being told that its stack is endless.
    static let longestSymbol = 4096
    /// And so does one that stands for a longer name.
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
