/// A symbol as it should stand in a picture. Symbols are bytes: nothing says that they are UTF-8.
enum PerfSymbol {
    /// Without the offset into the function that `perf script -F +symoff` prints: `+0x5b`.
    static func withoutOffset(_ symbol: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        let digits = symbol.reversed().prefix { $0.isHexadecimalDigit }.count
        let head = symbol.dropLast(digits)
        return digits > 0 && head.count > 3 && head.hasSuffix("+0x") ? head.dropLast(3) : symbol
    }

    /// The functions that one symbol stands for, from the outermost to the innermost. Agents of JIT compilers write
    /// a function and what was inlined into it as `outer->inner`; the arrow of a C++ operator divides nothing.
    static func parts(_ symbol: ArraySlice<UInt8>) -> [ArraySlice<UInt8>] {
        var parts: [ArraySlice<UInt8>] = []
        var start = symbol.startIndex
        var index = start
        while index + 1 < symbol.endIndex {
            if symbol[index] == UInt8(ascii: "-"), symbol[index + 1] == UInt8(ascii: ">"),
                !symbol[start..<index].hasSuffix("operator")
            {
                parts.append(symbol[start..<index])
                start = index + 2
                index = start
            } else {
                index += 1
            }
        }
        parts.append(symbol[start...])
        return parts
    }

    /// Without its list of arguments. Names stay whole, whatever parentheses they hold.
    ///
    /// `f(int)` is `f`, `a::operator()(int) const` is `a::operator()`; `(anonymous namespace)::f`,
    /// `net/http.(*Client).Do`, `f(int)::{lambda()#1}::operator()` and `Builtin:a (b)` stay as they are.
    static func withoutArguments(_ symbol: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        let list = withoutQualifiers(symbol)
        guard list.last == UInt8(ascii: ")") else { return symbol }
        var depth = 0
        var opening = list.endIndex
        repeat {
            opening -= 1
            if list[opening] == UInt8(ascii: ")") { depth += 1 }
            if list[opening] == UInt8(ascii: "(") { depth -= 1 }
        } while depth > 0 && opening > list.startIndex
        let name = list[..<opening]
        guard depth == 0, let last = name.last, !last.isSpace else { return symbol }
        // The pair in `operator()` is its name.
        if name.hasSuffix("operator"), list.endIndex == opening + 2 { return symbol }
        return name
    }

    /// Java's `Lorg/example/Type;::method` without the letter that says that a class follows.
    static func withoutDescriptor(_ symbol: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        guard symbol.first == UInt8(ascii: "L"), let end = symbol.firstIndex(of: UInt8(ascii: ";")),
            symbol[..<end].contains(UInt8(ascii: "/"))
        else { return symbol }
        return symbol.dropFirst()
    }

    /// Without what may follow a list of arguments: qualifiers, and the compiler's notes on copies of a function.
    private static func withoutQualifiers(_ symbol: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        var symbol = symbol
        while true {
            if let tail = [" const", " volatile", " &", " &&", " noexcept"].first(where: { symbol.hasSuffix($0) }) {
                symbol = symbol.dropLast(tail.utf8.count)
            } else if symbol.last == UInt8(ascii: "]"), let opening = symbol.lastIndex(of: UInt8(ascii: "[")),
                symbol[opening...].starts(with: "[clone ".utf8), symbol[..<opening].last == UInt8(ascii: " ")
            {
                symbol = symbol[..<(opening - 1)]
            } else {
                return symbol
            }
        }
    }
}
