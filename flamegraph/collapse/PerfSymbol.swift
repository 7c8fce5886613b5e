/// A symbol as it should stand in a picture. Symbols are bytes: nothing says that they are UTF-8.
enum PerfSymbol {
    /// Without the offset into the function that `perf script -F +symoff` prints: `+0x5b`.
    static func withoutOffset(_ symbol: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        let digits = symbol.reversed().prefix { $0.isHexadecimalDigit }.count
        let head = symbol.dropLast(digits)
        return digits > 0 && head.count >= 3 && head.hasSuffix("+0x") ? head.dropLast(3) : symbol
    }

    /// The functions that one symbol of code compiled at run time stands for, from the outermost to the innermost. Agents of JIT compilers
    /// write a function and what was inlined into it as `outer->inner`; an arrow inside brackets, or with blanks around it, belongs to a
    /// type, that of a C++ operator and those in V8's names of stubs and regular expressions to the name.
    static func parts(_ symbol: ArraySlice<UInt8>) -> [ArraySlice<UInt8>] {
        if isOfV8(symbol) { return [symbol] }
        var parts: [ArraySlice<UInt8>] = []
        var start = symbol.startIndex
        var index = start
        var depth = 0
        while index < symbol.endIndex {
            let isArrow = index + 1 < symbol.endIndex && symbol[index] == UInt8(ascii: "-") && symbol[index + 1] == UInt8(ascii: ">")
            if !isArrow {
                depth = max(0, depth + nesting(symbol[index]))
                index += 1
                continue
            }
            let isSpaced = index > start && symbol[index - 1].isSpace || index + 2 < symbol.endIndex && symbol[index + 2].isSpace
            if depth == 0, !isSpaced, index > start, index + 2 < symbol.endIndex, !symbol[start..<index].hasSuffix("operator") {
                parts.append(symbol[start..<index])
                start = index + 2
            }
            index += 2
        }
        parts.append(symbol[start...])
        return parts
    }

    private static func nesting(_ byte: UInt8) -> Int {
        switch byte {
        case UInt8(ascii: "("), UInt8(ascii: "["), UInt8(ascii: "{"), UInt8(ascii: "<"): 1
        case UInt8(ascii: ")"), UInt8(ascii: "]"), UInt8(ascii: "}"), UInt8(ascii: ">"): -1
        default: 0
        }
    }

    /// Whether V8 wrote the name: a kind of code, a colon, and anything, such as the text of a regular expression.
    private static func isOfV8(_ symbol: ArraySlice<UInt8>) -> Bool {
        guard let colon = symbol.prefix(24).firstIndex(of: UInt8(ascii: ":")), symbol[(colon + 1)...].first != UInt8(ascii: ":") else { return false }
        return v8Kinds.contains { symbol[..<colon].elementsEqual($0.utf8) }
    }

    private static let v8Kinds = [
        "RegExp", "Stub", "Builtin", "Handler", "BytecodeHandler", "LazyCompile", "Function", "JS", "Script", "Eval", "Callback", "Regexp", "LoadIC", "StoreIC",
        "KeyedLoadIC", "KeyedStoreIC", "CallIC", "wasm-function", "WasmToJS", "JSToWasm",
    ]

    /// The name as it should be shown, given as perf printed it: as in its source, without its list of arguments.
    static func shown(_ symbol: ArraySlice<UInt8>, isJIT: Bool, demangle: ((String) -> String?)?) -> ArraySlice<UInt8> {
        if isOfV8(symbol) { return symbol }
        if let demangle, let name = demangled(symbol, demangle) { return name }
        if isJIT, let name = javaName(symbol) { return name }
        return withoutRustHash(withoutArguments(symbol))
    }

    /// What the compiler's own name stands for. perf leaves Rust's and Swift's names as they are where it was built without their rules.
    private static func demangled(_ symbol: ArraySlice<UInt8>, _ demangle: (String) -> String?) -> ArraySlice<UInt8>? {
        guard let first = symbol.first, [UInt8(ascii: "_"), UInt8(ascii: "$")].contains(first) else { return nil }
        return demangle(String(decoding: symbol, as: UTF8.self)).map { ArraySlice($0.utf8) }
    }

    /// Without its list of arguments. Names stay whole, whatever parentheses they hold.
    ///
    /// `f(int)` is `f`, `a::operator()(int) const` is `a::operator()`; `(anonymous namespace)::f`,
    /// `net/http.(*Client).Do`, `f(int)::{lambda()#1}::operator()` and `Builtin:a (b)` stay as they are, and so do Swift's types.
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

    // MARK: Java

    /// The name of a Java method: without the L and the semicolon of its class's descriptor, without its signature; nil for other names.
    ///
    ///     Lorg/example/Type;::method(Ljava/lang/String;I)V    void Type.method(java.lang.String, int)
    private static func javaName(_ symbol: ArraySlice<UInt8>) -> ArraySlice<UInt8>? {
        if let opening = symbol.lastIndex(of: UInt8(ascii: "(")), let closing = symbol.lastIndex(of: UInt8(ascii: ")")), opening < closing {
            let (name, result) = (symbol[..<opening], symbol[(closing + 1)...])
            if isDescriptor(result), symbol[(opening + 1)..<closing].allSatisfy({ !$0.isSpace && $0 != UInt8(ascii: ",") }) { return withoutDescriptor(name) }
            // As the JDK itself writes it: a type, a blank, a class, a point, a method.
            if result.isEmpty, let blank = name.lastIndex(where: \.isSpace), name[blank...].contains(UInt8(ascii: ".")),
                !name[..<blank].contains(where: { $0.isSpace || $0 == UInt8(ascii: ":") })
            {
                return name[(blank + 1)...]
            }
        }
        let name = withoutDescriptor(symbol)
        return name.startIndex == symbol.startIndex ? nil : withoutArguments(name)
    }

    /// A type as the class file has it: `V`, `[I`, `Ljava/lang/String;`.
    private static func isDescriptor(_ type: ArraySlice<UInt8>) -> Bool {
        let element = type.drop { $0 == UInt8(ascii: "[") }
        if element.count == 1, let letter = element.first { return "BCDFIJSZV".utf8.contains(letter) }
        return element.first == UInt8(ascii: "L") && element.last == UInt8(ascii: ";")
    }

    /// Java's `Lorg/example/Type;::method` without the letter that says that a class follows, and so `Lorg/exam`, which was cut.
    private static func withoutDescriptor(_ symbol: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        guard symbol.first == UInt8(ascii: "L") else { return symbol }
        let package = symbol.dropFirst().prefix {
            ($0 | 0x20) &- UInt8(ascii: "a") < 26 || $0.isDecimalDigit || $0 == UInt8(ascii: "_") || $0 == UInt8(ascii: "$")
        }
        return package.count > 0 && package.endIndex < symbol.endIndex && symbol[package.endIndex] == UInt8(ascii: "/") ? symbol.dropFirst() : symbol
    }

    // MARK: Rust

    /// A name of Rust's older scheme without its hash, `::h0123456789abcdef`, and with what it writes as `$LT$` in place of signs.
    private static func withoutRustHash(_ symbol: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        let hash = symbol.suffix(16)
        let head = symbol.dropLast(16)
        guard hash.count == 16, head.count > 3, head.hasSuffix("::h"), hash.allSatisfy(\.isHexadecimalDigit) else { return symbol }
        let name = head.dropLast(3)
        guard name.contains(UInt8(ascii: "$")) || name.contains(UInt8(ascii: ".")) else { return name }
        var text = String(decoding: name, as: UTF8.self).replacing("_$", with: "$").replacing("..", with: "::")
        for (code, sign) in [("SP", "@"), ("BP", "*"), ("RF", "&"), ("LT", "<"), ("GT", ">"), ("LP", "("), ("RP", ")"), ("C", ",")] {
            text = text.replacing("$\(code)$", with: sign)
        }
        for code: UInt32 in 0x20..<0x7f {
            guard text.contains("$u"), let scalar = Unicode.Scalar(code) else { break }
            text = text.replacing("$u\(String(code, radix: 16))$", with: String(scalar))
        }
        return ArraySlice(text.utf8)
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
