/// A frame as bpftrace prints it in the modes `bpftrace`, `perf` and `raw`:
///
///         vfs_read+187
///         [inlined] step@/src/a.c:12          (later versions, with debug information)
///         0x7f3eba854680
///     	7f07c60082ad __libc_read+13 (/usr/lib/libc.so.6)
///     ffffffff816bac2b
///
/// C++ names are demangled, with their arguments.
struct BPFTraceFrame {
    /// Where a frame says that it runs.
    enum Side { case kernel, user, unknown }

    /// The function as in its source, or what stands for one.
    var name: [UInt8]
    var side: Side
    var isInlined = false
    var isJIT = false

    /// Four blanks or a tab.
    static func isIndented(_ line: ArraySlice<UInt8>) -> Bool {
        (line.starts(with: "    ".utf8) || line.first == UInt8(ascii: "\t")) && !line.allSatisfy(\.isSpace)
    }

    static func isRaw(_ line: ArraySlice<UInt8>) -> Bool { !line.isEmpty && line.allSatisfy(\.isHexadecimalDigit) }

    /// Whether a line outside of an entry can be nothing but a frame.
    static func isFrame(_ line: ArraySlice<UInt8>) -> Bool {
        if isRaw(line), line.count >= 8 { return true }
        guard isIndented(line) else { return false }
        let text = line.drop(while: \.isSpace)
        if text.starts(with: "0x".utf8) || withoutOffset(text).count < text.count { return true }
        let (address, rest) = withoutAddress(text)
        return line.first == UInt8(ascii: "\t") && address.count >= 6 && !(rest.isEmpty && address.count < 12)
    }

    init(_ line: ArraySlice<UInt8>, _ options: CollapseOptions) {
        var text = line.drop(while: \.isSpace)
        while let last = text.last, last.isSpace { text.removeLast() }
        var (address, module): (ArraySlice<UInt8>, ArraySlice<UInt8>) = ([], [])
        if line.first == UInt8(ascii: "\t") {
            (address, text) = Self.withoutAddress(text)
            (text, module) = Self.withoutModule(text)
        } else if Self.isRaw(line) {
            (address, text) = (text, [])
        }
        let mark = "[inlined]"
        if text.starts(with: mark.utf8) {
            isInlined = true
            text = text.dropFirst(mark.utf8.count).drop(while: \.isSpace)
        }
        text = Self.withoutOffset(Self.withoutPlace(text, hasOffset: !isInlined))
        if text.starts(with: "0x".utf8), text.count > 2, text.dropFirst(2).allSatisfy(\.isHexadecimalDigit) {
            (address, text) = (text.dropFirst(2), [])
        }
        let kind = PerfModule(module)
        isInlined = isInlined || kind.isInlined
        isJIT = kind.isJIT
        side =
            if !address.isEmpty { Self.isOfKernel(address) ? .kernel : .user } else if kind.isFile { .user } else { Self.side(text) }
        name = functionName(text, module: isInlined ? [] : module, address: address, options)
    }

    /// How it ends in folded text.
    func suffix(isKernel: Bool, _ options: CollapseOptions) -> String {
        if isInlined { return options.marksInlined ? "_[i]" : "" }
        if isKernel { return options.marksKernel ? "_[k]" : "" }
        return isJIT && options.marksJIT ? "_[j]" : ""
    }

    /// `f+12`
    private static func withoutOffset(_ text: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        let head = text.dropLast(text.reversed().prefix(while: \.isDecimalDigit).count)
        return head.count < text.count && head.count > 1 && head.last == UInt8(ascii: "+") ? head.dropLast() : text
    }

    /// `f+12@/src/a.c:34`; names have such signs, too: `f@@VERSION+12`.
    private static func withoutPlace(_ text: ArraySlice<UInt8>, hasOffset: Bool) -> ArraySlice<UInt8> {
        let head = text.dropLast(text.reversed().prefix(while: \.isDecimalDigit).count)
        guard head.count < text.count, head.last == UInt8(ascii: ":") else { return text }
        let sign = head.indices.first { head[$0] == UInt8(ascii: "@") && (!hasOffset || withoutOffset(head[..<$0]).count < head[..<$0].count) }
        return sign.map { text[..<$0] } ?? text
    }

    private static func withoutAddress(_ text: ArraySlice<UInt8>) -> (address: ArraySlice<UInt8>, rest: ArraySlice<UInt8>) {
        let digits = text.prefix(while: \.isHexadecimalDigit)
        if digits.endIndex == text.endIndex || text[digits.endIndex].isSpace { return (digits, text[digits.endIndex...].drop(while: \.isSpace)) }
        // The JSON of later versions has no blanks: `7f07c60082ad__libc_read+13`.
        let length = text.starts(with: "ffff".utf8) ? 16 : 12
        return digits.count >= length ? (text.prefix(length), text.dropFirst(length)) : ([], text)
    }

    /// The module is in parentheses behind the offset.
    private static func withoutModule(_ text: ArraySlice<UInt8>) -> (symbol: ArraySlice<UInt8>, module: ArraySlice<UInt8>) {
        guard text.last == UInt8(ascii: ")") else { return (text, []) }
        var (depth, opening) = (0, text.endIndex)
        repeat {
            opening -= 1
            if text[opening] == UInt8(ascii: ")") { depth += 1 }
            if text[opening] == UInt8(ascii: "(") { depth -= 1 }
        } while depth > 0 && opening > text.startIndex
        var symbol = text[..<opening]
        let isSpaced = symbol.last?.isSpace == true
        while let last = symbol.last, last.isSpace { symbol.removeLast() }
        guard depth == 0, !symbol.isEmpty, isSpaced || withoutOffset(symbol).count < symbol.count else { return (text, []) }
        return (symbol, text[(opening + 1)...].dropLast())
    }

    /// The upper half of the address space, on x86-64 and arm64.
    private static func isOfKernel(_ address: ArraySlice<UInt8>) -> Bool { address.count == 16 && address.starts(with: "ffff".utf8) }

    /// What a name alone tells: entries into the kernel, the beginnings of its threads and of its own work; the beginnings of user programs,
    /// and arguments, which names of the kernel don't have.
    private static func side(_ name: ArraySlice<UInt8>) -> Side {
        if kernelNames.contains(where: { name.elementsEqual($0.utf8) }) || kernelBeginnings.contains(where: { name.starts(with: $0.utf8) }) { return .kernel }
        return name.contains(UInt8(ascii: "(")) || userNames.contains { name.elementsEqual($0.utf8) } ? .user : .unknown
    }

    private static let kernelNames = [
        "do_syscall_64", "common_startup_64", "cpu_startup_entry", "do_idle", "start_secondary", "__schedule", "el0_svc", "invoke_syscall",
    ]
    private static let kernelBeginnings = [
        "entry_SYSCALL_", "entry_SYSENTER_", "entry_INT80_", "ret_from_fork", "asm_sysvec_", "asm_exc_", "asm_common_interrupt", "asm_load_gs_index",
        "secondary_startup_64", "__x64_sys_", "__ia32_sys_", "__arm64_sys_", "el0t_64_", "el1h_64_", "bpf_trace_run", "__traceiter_", "__bpf_trace_",
    ]
    private static let userNames = [
        "_start", "main", "__libc_start_call_main", "__libc_start_main", "start_thread", "clone", "__clone", "__clone3", "clone3", "__GI___clone",
    ]
}
