import Glibc
import SystemPackage

/// The functions of just-in-time compiled code, from the map that the compilers of node, Java and others write for profilers
/// (tools/perf/Documentation/jit-interface.txt of the kernel): lines of `START SIZE NAME`, with hexadecimal numbers.
///
/// Compilers append lines: where two overlap, the later one wins, because its code has replaced the other. Malformed lines are ignored.
/// Memory is limited: the rest of a map with too many functions or bytes is not read.
struct PerfMap {
    struct Limits {
        /// Functions in use; replaced ones do not count.
        var functions = 1 << 19
        var nameBytes = 64 << 20
        var fileBytes = 256 << 20
        /// Longer names are truncated.
        var longestName = 1024
    }

    struct Match: Equatable {
        let name: String
        let start: UInt64
    }

    /// The map was not read completely.
    private(set) var isCut = false
    private(set) var malformedLineCount = 0
    /// Sorted and disjoint; newer functions wait in the order of the file.
    private var settled: [Entry] = []
    private var recent: [Entry] = []
    private var names: [UInt8] = []
    private let limits: Limits

    private struct Entry {
        /// The function's start.
        let function: UInt64
        /// The part of it that no later function has replaced.
        var start, end: UInt64
        let nameOffset: UInt32
        let nameLength: UInt16
    }

    /// Parses the content of a whole map.
    init(parsing bytes: [UInt8], limits: Limits = Limits()) {
        self.limits = limits
        bytes.withUnsafeBufferPointer { whole in
            let used = parseLines(whole[...])
            parse(whole[used...])
        }
        settle()
    }

    /// Reads a file up to its end, which may move meanwhile.
    init(reading file: FileDescriptor, limits: Limits = Limits()) throws(Errno) {
        self.limits = limits
        var buffer = [UInt8](repeating: 0, count: 1 << 20)
        var filled = 0
        var position = 0
        /// Inside a line that is longer than the buffer.
        var isSkipping = false
        while !isCut {
            let count = buffer.withUnsafeMutableBytes { pread(file.rawValue, $0.baseAddress.map { $0 + filled }, $0.count - filled, position) }
            guard count >= 0 else { throw Errno(rawValue: errno) }
            if count == 0 { break }
            position += count
            filled += count
            if position > limits.fileBytes { isCut = true }
            let used = buffer.withUnsafeBufferPointer { whole -> Int in
                var text = whole[..<filled]
                if isSkipping {
                    guard let newline = text.firstIndex(of: UInt8(ascii: "\n")) else { return filled }
                    text = text[(newline + 1)...]
                    isSkipping = false
                }
                let used = parseLines(text)
                guard used == 0, filled == whole.count else { return used }
                isSkipping = true
                malformedLineCount += 1
                return filled
            }
            buffer.withUnsafeMutableBytes { bytes in
                guard used > 0, let start = bytes.baseAddress else { return }
                memmove(start, start + used, filled - used)
            }
            filled -= used
        }
        // The last line without newline may be incomplete: its name would be truncated.
        settle()
    }

    func function(at address: UInt64) -> Match? {
        guard let index = settled.lastIndex(startingAtOrBelow: address, start: \.start), address < settled[index].end else {
            return nil
        }
        let entry = settled[index]
        let name = Int(entry.nameOffset)..<Int(entry.nameOffset) + Int(entry.nameLength)
        return Match(name: String(decoding: names[name], as: UTF8.self), start: entry.function)
    }

    var functionCount: Int { settled.count }

    /// Parses all complete lines. Returns the index after the last one.
    private mutating func parseLines(_ text: Slice<UnsafeBufferPointer<UInt8>>) -> Int {
        var rest = text
        while !isCut, let newline = rest.firstIndex(of: UInt8(ascii: "\n")) {
            parse(rest[..<newline])
            rest = rest[(newline + 1)...]
        }
        return rest.startIndex
    }

    private mutating func parse(_ line: Slice<UnsafeBufferPointer<UInt8>>) {
        var line = line
        if line.last == UInt8(ascii: "\r") { line.removeLast() }
        if line.isEmpty { return }
        guard let start = Self.number(&line), let size = Self.number(&line), !line.isEmpty, size > 0 else {
            malformedLineCount += 1
            return
        }
        let (end, overflow) = start.addingReportingOverflow(size)
        if overflow {
            malformedLineCount += 1
            return
        }
        let name = line.prefix(limits.longestName)
        if settled.count + recent.count >= limits.functions || names.count + name.count > limits.nameBytes { makeRoom() }
        guard !isCut else { return }
        recent.append(
            Entry(function: start, start: start, end: end, nameOffset: UInt32(names.count), nameLength: UInt16(name.count)))
        names.append(contentsOf: name)
    }

    /// Removes a number and the blank after it from a line.
    private static func number(_ line: inout Slice<UnsafeBufferPointer<UInt8>>) -> UInt64? {
        if line.starts(with: "0x".utf8) || line.starts(with: "0X".utf8) { line = line.dropFirst(2) }
        var value: UInt64 = 0
        var digits = 0
        while let byte = line.first, let digit = hexDigit(byte) {
            guard digits < 16 else { return nil }
            value = value << 4 | digit
            digits += 1
            line.removeFirst()
        }
        guard digits > 0, line.first == UInt8(ascii: " ") || line.first == UInt8(ascii: "\t") else { return nil }
        line = line.drop { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\t") }
        return value
    }

    /// Frees functions that later ones have replaced, including their names. If that gains little, the map counts as cut, because repeated
    /// compacting would take too long.
    private mutating func makeRoom() {
        settle()
        var kept: [UInt8] = []
        for (index, entry) in settled.enumerated() {
            let start = kept.count
            kept.append(contentsOf: names[Int(entry.nameOffset)..<Int(entry.nameOffset) + Int(entry.nameLength)])
            settled[index] = Entry(
                function: entry.function, start: entry.start, end: entry.end, nameOffset: UInt32(start), nameLength: entry.nameLength)
        }
        names = kept
        isCut = settled.count > limits.functions / 4 * 3 || names.count > limits.nameBytes / 4 * 3
    }

    /// Merges the recent functions into the settled ones. Later functions replace earlier ones.
    private mutating func settle() {
        if recent.isEmpty { return }
        let layered = settled + recent
        recent = []
        // The starts and ends by address. Of all functions open at an address, the latest is visible.
        var edges: [(address: UInt64, isStart: Bool, entry: Int)] = []
        edges.reserveCapacity(layered.count * 2)
        for (index, entry) in layered.enumerated() {
            edges.append((entry.start, true, index))
            edges.append((entry.end, false, index))
        }
        edges.sort { ($0.address, $0.entry) < ($1.address, $1.entry) }
        var isOpen = [Bool](repeating: false, count: layered.count)
        var open = MaximumQueue()
        var result: [Entry] = []
        var position = 0
        while position < edges.count {
            let address = edges[position].address
            while position < edges.count, edges[position].address == address {
                let edge = edges[position]
                isOpen[edge.entry] = edge.isStart
                if edge.isStart { open.insert(edge.entry) }
                position += 1
            }
            while let top = open.maximum, !isOpen[top] { open.removeMaximum() }
            guard let top = open.maximum, position < edges.count else { continue }
            let end = edges[position].address
            if let last = result.last, last.end == address, last.nameOffset == layered[top].nameOffset, last.function == layered[top].function {
                result[result.count - 1].end = end
            } else {
                var piece = layered[top]
                piece.start = address
                piece.end = end
                result.append(piece)
            }
        }
        settled = result
    }
}

/// A binary heap of numbers, the largest first.
private struct MaximumQueue {
    private var heap: [Int] = []

    var maximum: Int? { heap.first }

    mutating func insert(_ value: Int) {
        heap.append(value)
        var child = heap.count - 1
        while child > 0, heap[(child - 1) / 2] < heap[child] {
            heap.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    mutating func removeMaximum() {
        guard let last = heap.popLast(), !heap.isEmpty else { return }
        heap[0] = last
        var parent = 0
        while true {
            let left = 2 * parent + 1
            guard left < heap.count else { return }
            let larger = left + 1 < heap.count && heap[left + 1] > heap[left] ? left + 1 : left
            guard heap[larger] > heap[parent] else { return }
            heap.swapAt(parent, larger)
            parent = larger
        }
    }
}
