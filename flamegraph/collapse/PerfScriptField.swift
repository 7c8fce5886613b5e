/// What `perf script -F` prints behind or below a stack besides frames.
enum PerfScriptField {
    /// Whether a line below a sample's first line holds only such fields.
    static func isWhole(_ line: UnsafeRawBufferPointer) -> Bool {
        let text = line.drop(while: \.isSpace)
        guard let first = text.first else { return true }
        // `+srccode`: |12   source text
        if first == UInt8(ascii: "|"), text.dropFirst().first?.isDecimalDigit == true { return true }
        guard text.startIndex > 0 else { return false }
        return isTrailer(line) || isSourceLine(withoutTrailer(line).drop(while: \.isSpace)) || isBPFOutput(text)
    }

    /// The line without the fields behind its frame, and without the blanks before those.
    static func withoutTrailer(_ line: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
        for start in line.indices where line[start].isSpace && start > 0 && !line[start - 1].isSpace {
            let rest = UnsafeRawBufferPointer(rebasing: line[start...])
            if isTrailer(rest) { return UnsafeRawBufferPointer(rebasing: line[..<start]) }
        }
        return line
    }

    /// `+srcline`: file.c:12, ??:0, libc.so.6[1f3c], with or without (inlined).
    private static func isSourceLine(_ text: Slice<UnsafeRawBufferPointer>) -> Bool {
        var text = text
        if text.hasSuffix(" (inlined)") { text = text.dropLast(10) }
        if text.last == UInt8(ascii: "]"), let opening = text.lastIndex(of: UInt8(ascii: "[")), opening > text.startIndex {
            let offset = text[(opening + 1)...].dropLast()
            // `operator new[]` is a function.
            return !offset.isEmpty && offset.allSatisfy(\.isHexadecimalDigit)
        }
        guard let colon = text.lastIndex(of: UInt8(ascii: ":")), colon > text.startIndex, colon + 1 < text.endIndex else { return false }
        return text[(colon + 1)...].allSatisfy(\.isDecimalDigit) && !text[..<colon].contains(where: \.isSpace)
    }

    /// Registers, instructions, physical addresses, sizes of pages, cycles, branches: each word belongs to one of them.
    private static func isTrailer(_ line: UnsafeRawBufferPointer) -> Bool {
        let text = line.drop(while: \.isSpace)
        if text.isEmpty { return false }
        if ["ABI:", "insn:", "IPC: ", "ilen: "].contains(where: { text.starts(with: $0.utf8) }) { return true }
        var isField = false
        var words = 0
        for word in text.split(whereSeparator: \.isSpace) {
            words += 1
            if isPageSize(word) {
                isField = true
            } else if word.starts(with: "0x".utf8), word.filter({ $0 == UInt8(ascii: "/") }).count >= 3 {
                // from/to/flags of a branch
                isField = true
            } else if words > 1 || !word.allSatisfy(\.isHexadecimalDigit) || line.first == UInt8(ascii: "\t") {
                return false
            } else {
                // A physical address, padded.
                isField = (16...17).contains(word.endIndex)
            }
        }
        return isField
    }

    /// `4K`, `2M`, `N/A`
    static func isPageSize(_ word: Slice<UnsafeRawBufferPointer>) -> Bool {
        if word.elementsEqual("N/A".utf8) { return true }
        return word.count > 1 && ["K", "M", "G", "B"].contains { word.hasSuffix($0) } && word.dropLast().allSatisfy(\.isDecimalDigit)
    }

    private static func isBPFOutput(_ text: Slice<UnsafeRawBufferPointer>) -> Bool {
        if text.starts(with: "BPF output:".utf8) || text.starts(with: "BPF string:".utf8) { return true }
        // Its further lines: `0008: 6f 72 6c 64`
        return text.count > 6 && text.prefix(4).allSatisfy(\.isHexadecimalDigit) && text[text.startIndex + 4] == UInt8(ascii: ":")
            && text[text.startIndex + 5].isSpace
    }
}
