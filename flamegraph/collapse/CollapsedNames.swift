/// Names of other tools as they stand in folded text. What a terminal would obey in them is escaped where the text is written.

/// A frame without the character that divides frames.
@inline(__always)
public func frameName(_ name: some Sequence<UInt8>) -> [UInt8] { name.map { $0 == UInt8(ascii: ";") ? UInt8(ascii: ":") : $0 } }

/// A function or a module in brackets that stands for one, as in its source: without arguments and hashes.
func functionName(_ symbol: ArraySlice<UInt8>, module: ArraySlice<UInt8> = [], address: ArraySlice<UInt8> = [], _ options: CollapseOptions) -> [UInt8] {
    guard symbol.isEmpty || symbol.elementsEqual("??".utf8) else {
        return frameName(PerfSymbol.shown(symbol, isJIT: false, demangle: options.demangle))
    }
    var shown = PerfModule(module).name
    if shown.isEmpty { shown = Array("unknown".utf8) }
    if shown.first == UInt8(ascii: "["), shown.last == UInt8(ascii: "]") { shown = Array(shown.dropFirst().dropLast()) }
    let place = options.showsAddresses && !address.isEmpty ? Array(" <".utf8) + address + Array(">".utf8) : []
    return frameName([UInt8(ascii: "[")] + shown + place + [UInt8(ascii: "]")])
}

/// The first frame of a stack: the name of a process or thread, and its numbers where they are asked for.
func processName(
    _ name: some Sequence<UInt8>, process: (some Collection<UInt8>)?, thread: (some Collection<UInt8>)?, _ options: CollapseOptions
) -> [UInt8] {
    var text = name.map { $0.isSpace ? UInt8(ascii: "_") : $0 == UInt8(ascii: ";") ? UInt8(ascii: ":") : $0 }
    if options.mergesThreads { text = withoutNumbers(text) }
    if text.isEmpty { text = Array("[unknown]".utf8) }
    let unknown = [UInt8(ascii: "?")]
    if options.showsProcess || options.showsThread { text += [UInt8(ascii: "-")] + (process.map(Array.init) ?? unknown) }
    if options.showsThread { text += [UInt8(ascii: "/")] + (thread.map(Array.init) ?? unknown) }
    return text
}

/// Without the numbers at its end, and the signs that set them off; a name of nothing else stays.
func withoutNumbers(_ name: [UInt8]) -> [UInt8] {
    var end = name.count
    while true {
        let digits = name[..<end].reversed().prefix(while: \.isDecimalDigit).count
        if digits == 0 { break }
        end -= digits
        while end > 0, "-_#:./ ".utf8.contains(name[end - 1]) { end -= 1 }
    }
    return end > 0 ? Array(name[..<end]) : name
}
