import Glibc
import SystemPackage

/// The name and module of a kernel function, in 8 bytes. Without a name, it marks the end of the previous one.
struct KernelFunction {
    let nameOffset: UInt32
    let nameLength: UInt16
    let module: UInt16

    static let unnamed = KernelFunction(nameOffset: 0, nameLength: 0, module: 0)
    var isNamed: Bool { nameLength > 0 }
    var name: Range<Int> { Int(nameOffset)..<Int(nameOffset) + Int(nameLength) }
}

/// Parses the text of /proc/kallsyms in pieces and keeps only what lookups need. Makes no string for a line, because a kernel has two
/// hundred thousand.
struct KallsymsParser {
    struct Line {
        let address: UInt64
        let function: KernelFunction
        /// Which of several symbols at the same address is used: the one with the lowest rank.
        let rank: UInt8
    }

    var lines: [Line] = []
    private(set) var names: [UInt8] = []
    private(set) var modules = ["[kernel]"]
    private(set) var functionLines = 0
    private(set) var sawNonzeroFunction = false
    private var lineNumber = 0

    /// Reads a file to its end.
    mutating func read(_ file: FileDescriptor) throws {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 128 * 1024, alignment: 1)
        defer { buffer.deallocate() }
        var filled = 0
        while true {
            let room = UnsafeMutableRawBufferPointer(rebasing: buffer[filled...])
            // A line as long as the buffer is not from kallsyms: names have at most 512 bytes.
            guard room.count > 0 else { throw KernelSymbolsError.notKallsyms(line: lineNumber + 1) }
            let count = try file.read(into: room)
            let text = UnsafeRawBufferPointer(rebasing: buffer[..<(filled + count)]).assumingMemoryBound(to: UInt8.self)
            if count == 0 { return try parseLastLine(text) }
            // The kernel returns a page at a time: parse when there is enough.
            if filled + count < buffer.count / 2 {
                filled += count
                continue
            }
            let used = try parseLines(text)
            filled = text.count - used
            buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: buffer[used..<used + filled]))
        }
    }

    /// Parses all complete lines. Returns their number of bytes.
    mutating func parseLines(_ text: UnsafeBufferPointer<UInt8>) throws(KernelSymbolsError) -> Int {
        guard let base = text.baseAddress else { return 0 }
        var position = 0
        while let newline = memchr(base + position, Int32(UInt8(ascii: "\n")), text.count - position) {
            let end = UnsafeRawPointer(newline) - UnsafeRawPointer(base)
            try parse(UnsafeBufferPointer(rebasing: text[position..<end]))
            position = end + 1
        }
        return position
    }

    /// Parses the rest of the text: complete lines, then one without newline.
    mutating func parseLastLine(_ text: UnsafeBufferPointer<UInt8>) throws(KernelSymbolsError) {
        let used = try parseLines(text)
        if used < text.count { try parse(UnsafeBufferPointer(rebasing: text[used...])) }
    }

    /// One line: 16 hexadecimal digits (8 on 32-bit kernels), type letter, name, and after a tab the module.
    private mutating func parse(_ line: UnsafeBufferPointer<UInt8>) throws(KernelSymbolsError) {
        lineNumber += 1
        var address: UInt64 = 0
        var position = 0
        while position < line.count, position < 16, let digit = hexDigit(line[position]) {
            address = address << 4 | digit
            position += 1
        }
        guard position > 0, position + 3 < line.count, line[position] == UInt8(ascii: " "),
            line[position + 2] == UInt8(ascii: " ")
        else { throw .notKallsyms(line: lineNumber) }
        guard let rank = Self.rank(ofType: line[position + 1]) else {
            // Not a function, but the previous function ends here. Address 0 and the like are offsets of per-CPU variables.
            if address != 0 { lines.append(Line(address: address, function: .unnamed, rank: .max)) }
            return
        }
        functionLines += 1
        guard address != 0 else { return }
        sawNonzeroFunction = true
        let text = UnsafeBufferPointer(rebasing: line[(position + 3)...])
        let nameEnd = text.firstIndex { $0 == UInt8(ascii: "\t") || $0 == UInt8(ascii: " ") } ?? text.count
        guard nameEnd > 0, let offset = UInt32(exactly: names.count), let length = UInt16(exactly: nameEnd) else {
            throw .notKallsyms(line: lineNumber)
        }
        let module = self.module(in: UnsafeBufferPointer(rebasing: text[nameEnd...]))
        names.append(contentsOf: text[..<nameEnd])
        lines.append(
            Line(
                address: address,
                function: KernelFunction(nameOffset: offset, nameLength: length, module: module), rank: rank))
    }

    /// The number of the module at the end of a line. Lines of one module are adjacent, so it is nearly always the last one.
    private mutating func module(in rest: UnsafeBufferPointer<UInt8>) -> UInt16 {
        let name = rest.drop { $0 == UInt8(ascii: "\t") || $0 == UInt8(ascii: " ") }
        if name.isEmpty { return 0 }
        if modules[modules.count - 1].utf8.elementsEqual(name) { return UInt16(clamping: modules.count - 1) }
        let text = String(decoding: name, as: UTF8.self)
        if let known = modules.firstIndex(of: text) { return UInt16(clamping: known) }
        // A kernel has hundreds of modules; if they exceed 16 bits, the last one stands for the rest.
        if modules.count <= Int(UInt16.max) { modules.append(text) }
        return UInt16(clamping: modules.count - 1)
    }

    /// The lowest is preferred; nil if it is not a function.
    private static func rank(ofType type: UInt8) -> UInt8? {
        switch type {
        case UInt8(ascii: "T"): 0
        case UInt8(ascii: "W"), UInt8(ascii: "w"): 1
        case UInt8(ascii: "t"): 2
        default: nil
        }
    }
}
