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

    /// Whether a line begins as perf's own frames do, whatever fields it prints: a tab, and an address padded to 16 digits.
    static func isIndented(_ line: UnsafeRawBufferPointer) -> Bool {
        guard line.first == UInt8(ascii: "\t"), let start = symbolStart(line) else { return false }
        return start.addressEnd >= 17
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

    init(_ bytes: some Collection<UInt8>) {
        var path = Array(bytes)
        // `-F +dsoff`: where in the file.
        path = Array(PerfSymbol.withoutOffset(path[...]))
        if path.hasSuffix(" (deleted)") { path.removeLast(10) }
        name = path.lastIndex(of: UInt8(ascii: "/")).map { Array(path[($0 + 1)...]) } ?? path
        isInlined = path.elementsEqual("inlined".utf8)
        isUnknown = path.isEmpty || path.elementsEqual("[unknown]".utf8) || path.elementsEqual("unknown".utf8)
        if path.first == UInt8(ascii: "[") {
            // What the kernel maps into every process runs in user space.
            isKernel = !isUnknown && !["[heap]", "[stack", "[anon", "[vdso", "[vsyscall]", "[vvar", "[uprobes]"].contains { path.starts(with: $0.utf8) }
        } else {
            isKernel = Self.isKernelFile(path, name)
        }
        let isPerfMap = name.starts(with: "perf-".utf8) && name.hasSuffix(".map") && name.dropFirst(5).dropLast(4).allSatisfy(\.isDecimalDigit)
        isJIT =
            isPerfMap || name.starts(with: "jitted-".utf8) && name.hasSuffix(".so") || path.elementsEqual("//anon".utf8)
            || Self.jitCaches.contains { Self.contains(path, $0) }
    }

    /// What runtimes call the memory that they compile into: V8, ART, JavaScriptCore, .NET.
    private static let jitCaches = ["[anon:v8", "jit-code-cache", "jit-cache", "memfd:JITCode", "memfd:doublemapper"]

    private static func contains(_ path: [UInt8], _ text: String) -> Bool {
        let length = text.utf8.count
        guard path.count >= length else { return false }
        return (0...(path.count - length)).contains { path[$0..<($0 + length)].elementsEqual(text.utf8) }
    }

    private static func isKernelFile(_ path: [UInt8], _ name: [UInt8]) -> Bool {
        // perf calls the module of a BPF program as the program, and trampolines likewise.
        if ["bpf_prog_", "bpf_trampoline_", "bpf_dispatcher_"].contains(where: { path.starts(with: $0.utf8) }) { return true }
        var name = name[...]
        for ending in [".xz", ".gz", ".zst", ".debug"] where name.hasSuffix(ending) { name = name.dropLast(ending.utf8.count) }
        return name.hasSuffix("vmlinux") || name.starts(with: "vmlinux-".utf8) || name.starts(with: "vmlinuz".utf8) || name.first == UInt8(ascii: "[")
            || name.hasSuffix(".ko") || path.elementsEqual("/proc/kcore".utf8) || name.elementsEqual("kcore".utf8)
            || name.elementsEqual("kallsyms".utf8)
    }

    /// The ending that says the kind in folded text, as far as it is asked for.
    func suffix(_ options: CollapseOptions) -> String {
        if isInlined { return options.marksInlined ? "_[i]" : "" }
        if isKernel { return options.marksKernel ? "_[k]" : "" }
        return isJIT && options.marksJIT ? "_[j]" : ""
    }
}

extension RandomAccessCollection<UInt8> {
    func hasSuffix(_ text: String) -> Bool { suffix(text.utf8.count).elementsEqual(text.utf8) }
}
