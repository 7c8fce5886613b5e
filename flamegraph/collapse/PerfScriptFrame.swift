/// A line of a sample's stack, as `perf script` prints it: an address, a symbol, a module in parentheses.
///
///     ffffffff810a1b2c do_syscall_64+0x5b ([kernel.kallsyms])
///
/// Symbols may hold blanks and parentheses, so the module is the last balanced pair of parentheses.
struct PerfScriptFrame {
    var address: Range<Int>
    var symbol: Range<Int>
    /// Without its parentheses; empty when perf printed none.
    var module: Range<Int>

    typealias Start = (address: Int, addressEnd: Int, symbol: Int)

    /// Where the symbol begins if the line begins as a frame does, with blanks and a hexadecimal address; or nil. A line of nothing but
    /// an address has no symbol: its place is the line's end.
    @inline(__always)
    static func symbolStart(_ line: UnsafeRawBufferPointer) -> Start? {
        var index = 0
        while index < line.count, line[index].isSpace { index &+= 1 }
        let address = index
        while index < line.count, line[index].isHexadecimalDigit { index &+= 1 }
        let end = index
        guard end > address, index == line.count || line[index].isSpace else { return nil }
        while index < line.count, line[index].isSpace { index &+= 1 }
        return (address, end, index)
    }

    /// Reads a line without blanks at its end.
    static func parse(_ line: UnsafeRawBufferPointer) -> PerfScriptFrame? {
        guard let (address, addressEnd, symbol) = symbolStart(line) else { return nil }
        return parse(line, (address, addressEnd, symbol))
    }

    private static func parse(_ line: UnsafeRawBufferPointer, _ start: Start) -> PerfScriptFrame {
        let (address, addressEnd, symbol) = start
        var frame = PerfScriptFrame(
            address: address..<addressEnd, symbol: symbol..<line.count, module: line.count..<line.count)
        guard line[line.count - 1] == UInt8(ascii: ")") else { return frame }
        var depth = 0
        for index in stride(from: line.count - 1, through: symbol, by: -1) {
            if line[index] == UInt8(ascii: ")") { depth += 1 }
            if line[index] == UInt8(ascii: "(") { depth -= 1 }
            if depth == 0 {
                guard line[index - 1].isSpace else { break }
                frame.module = (index + 1)..<(line.count - 1)
                var end = index
                while end > symbol, line[end - 1].isSpace { end -= 1 }
                frame.symbol = symbol..<end
                break
            }
        }
        return frame
    }
}

/// What a frame's module says about its code.
struct PerfModule {
    /// The file's name without its directory, or what stands in brackets.
    var name: [UInt8]
    var isKernel = false
    var isJIT = false
    /// perf found the function in debug information, merged into the one below it.
    var isInlined = false
    var isUnknown = false
    /// A file, in which code may be looked up.
    var isFile: Bool { !isKernel && !isJIT && !isInlined && !isUnknown }

    var nameWithoutBrackets: ArraySlice<UInt8> {
        name.count > 2 && name.first == UInt8(ascii: "[") && name.last == UInt8(ascii: "]") ? name[1..<(name.count - 1)] : name[...]
    }

    init(_ bytes: some Collection<UInt8>) {
        var path = Array(bytes)
        if path.hasSuffix(" (deleted)") { path.removeLast(10) }
        name = path.lastIndex(of: UInt8(ascii: "/")).map { Array(path[($0 + 1)...]) } ?? path
        isInlined = path.elementsEqual("inlined".utf8)
        isUnknown = path.isEmpty || path.elementsEqual("[unknown]".utf8) || path.elementsEqual("unknown".utf8)
        if path.first == UInt8(ascii: "[") {
            isKernel = !isUnknown && !["[heap]", "[stack", "[anon"].contains { path.starts(with: $0.utf8) }
        } else {
            isKernel = name.hasSuffix("vmlinux") || name.starts(with: "vmlinux-".utf8) || name.first == UInt8(ascii: "[")
                || [".ko", ".ko.xz", ".ko.gz", ".ko.zst"].contains { name.hasSuffix($0) }
        }
        isJIT = name.starts(with: "perf-".utf8) && name.hasSuffix(".map")
            && name.dropFirst(5).dropLast(4).allSatisfy(\.isDecimalDigit)
            || name.starts(with: "jitted-".utf8) && name.hasSuffix(".so")
    }

    /// The ending that says the kind in folded text, as far as it is asked for.
    func suffix(_ options: PerfScriptOptions) -> String {
        if isInlined { return options.marksInlined ? "_[i]" : "" }
        if isKernel { return options.marksKernel ? "_[k]" : "" }
        return isJIT && options.marksJIT ? "_[j]" : ""
    }
}

extension RandomAccessCollection<UInt8> {
    func hasSuffix(_ text: String) -> Bool { suffix(text.utf8.count).elementsEqual(text.utf8) }
}
