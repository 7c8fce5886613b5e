/// The first line of a sample, as `perf script` prints it:
///
///     comm  pid/tid [cpu] flags time: period event: fields
///
/// Only comm and one number are always there. A comm may hold blanks, digits and brackets, so the line is read from
/// the place where numbers, processor and time stand together, not from its first number.
struct PerfScriptSample {
    var comm: Range<Int>
    /// Nil when perf printed only one number, which is the thread's.
    var process: Range<Int>?
    var thread: Range<Int>
    var weight: UInt64 = 1
    /// Empty when the line names none.
    var event: Range<Int>
    /// Where what follows the event begins.
    var rest: Int
    /// Whether the line has a time, which no frame has.
    var hasTime: Bool

    /// Reads a line, or gives nil when it is none. `words` is room to work in.
    static func parse(_ line: UnsafeRawBufferPointer, words: inout [Range<Int>]) -> PerfScriptSample? {
        split(line, into: &words)
        guard words.count >= 2 else { return nil }
        var fallback: Int?
        for index in 1..<words.count where isNumbers(line, words[index]) {
            var next = index + 1
            if next < words.count, isProcessor(line, words[next]) { next += 1 }
            if next < words.count, isTime(line, words[next]) {
                return sample(line, words, numbers: index, after: next + 1, hasTime: true)
            }
            // Between processor and time newer versions print four or five letters: `d..2.`
            if next + 1 < words.count, words[next].count <= 6, isTime(line, words[next + 1]) {
                return sample(line, words, numbers: index, after: next + 2, hasTime: true)
            }
            if fallback == nil, next > index + 1 || (next < words.count && line[words[next].upperBound - 1] == colon) {
                fallback = index
            }
        }
        guard let fallback else {
            // `perf script -F comm,tid`
            guard words.count == 2, isNumbers(line, words[1]) else { return nil }
            return sample(line, words, numbers: 1, after: 2, hasTime: false)
        }
        let hasProcessor = fallback + 1 < words.count && isProcessor(line, words[fallback + 1])
        return sample(line, words, numbers: fallback, after: fallback + (hasProcessor ? 2 : 1), hasTime: false)
    }

    private static func sample(
        _ line: UnsafeRawBufferPointer, _ words: [Range<Int>], numbers: Int, after: Int, hasTime: Bool
    ) -> PerfScriptSample {
        let pair = words[numbers]
        let slash = pair.first { line[$0] == UInt8(ascii: "/") }
        var sample = PerfScriptSample(
            comm: words[0].lowerBound..<words[numbers - 1].upperBound,
            process: slash.map { pair.lowerBound..<$0 },
            thread: (slash.map { $0 + 1 } ?? pair.lowerBound)..<pair.upperBound,
            event: pair.upperBound..<pair.upperBound, rest: line.count, hasTime: hasTime)
        var index = after
        if index + 1 < words.count, words[index].allSatisfy({ line[$0].isDecimalDigit }) {
            // A period of 0 is perf's way of saying that it knows none.
            if let period = decimal(line, words[index]), period > 0 { sample.weight = period }
            index += 1
        }
        if index < words.count, line[words[index].upperBound - 1] == colon {
            sample.event = words[index].lowerBound..<(words[index].upperBound - 1)
            sample.rest = words[index].upperBound
        }
        return sample
    }

    private static let colon = UInt8(ascii: ":")

    private static func split(_ line: UnsafeRawBufferPointer, into words: inout [Range<Int>]) {
        words.removeAll(keepingCapacity: true)
        var start = 0
        while start < line.count {
            while start < line.count, line[start].isSpace { start += 1 }
            var end = start
            while end < line.count, !line[end].isSpace { end += 1 }
            if end > start { words.append(start..<end) }
            start = end
            // No comm is longer than 15 bytes: what matters stands within the first words, fields may be long.
            if words.count == 24 { break }
        }
    }

    /// `123` or `123/456`; the kernel's idle threads and foreign ones may be -1.
    private static func isNumbers(_ line: UnsafeRawBufferPointer, _ word: Range<Int>) -> Bool {
        var digits = 0
        var slashes = 0
        for index in word {
            if line[index].isDecimalDigit {
                digits += 1
            } else if line[index] == UInt8(ascii: "/"), digits > 0, slashes == 0 {
                (digits, slashes) = (0, 1)
            } else if line[index] != UInt8(ascii: "-") || digits > 0 {
                return false
            }
        }
        return digits > 0
    }

    /// `[003]`
    private static func isProcessor(_ line: UnsafeRawBufferPointer, _ word: Range<Int>) -> Bool {
        word.count > 2 && line[word.lowerBound] == UInt8(ascii: "[") && line[word.upperBound - 1] == UInt8(ascii: "]")
            && word.dropFirst().dropLast().allSatisfy { line[$0].isDecimalDigit }
    }

    /// `12345.678901:`
    private static func isTime(_ line: UnsafeRawBufferPointer, _ word: Range<Int>) -> Bool {
        guard word.count > 3, line[word.upperBound - 1] == colon else { return false }
        var points = 0
        for index in word.dropLast() {
            if line[index] == UInt8(ascii: ".") { points += 1 } else if !line[index].isDecimalDigit { return false }
        }
        return points == 1
    }

    private static func decimal(_ line: UnsafeRawBufferPointer, _ word: Range<Int>) -> UInt64? {
        var value: UInt64 = 0
        for index in word {
            let (product, overflow) = value.multipliedReportingOverflow(by: 10)
            let (sum, carry) = product.addingReportingOverflow(UInt64(line[index] & 15))
            if overflow || carry { return nil }
            value = sum
        }
        return value
    }
}

extension UInt8 {
    var isDecimalDigit: Bool { self &- UInt8(ascii: "0") < 10 }
    var isSpace: Bool { self == UInt8(ascii: " ") || self == UInt8(ascii: "\t") }
    var isHexadecimalDigit: Bool { isDecimalDigit || (self | 0x20) &- UInt8(ascii: "a") < 6 }
}
