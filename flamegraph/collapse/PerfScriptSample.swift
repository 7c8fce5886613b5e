/// The first line of a sample, as `perf script` prints it:
///
///     comm  pid/tid [cpu] misc time: period event: fields
///
/// `-F` leaves fields out and adds others. A comm may hold blanks, digits, brackets and what looks like a time, so a line is a sample by
/// its shape as a whole, read from the place where number, processor and time stand together. Where there is no time, the widths to
/// which perf pads its fields tell a thread's number from a period and from a number at the end of a comm.
struct PerfScriptSample {
    /// Empty when the process has no name, or perf printed none.
    var comm: Range<Int>
    /// Nil when perf printed only one number, which is the thread's.
    var process: Range<Int>?
    var thread: Range<Int>
    var weight: UInt64 = 1
    /// Empty when the line names none.
    var event: Range<Int>
    /// Where what follows the event begins.
    var rest: Int

    /// What a line is that is no frame.
    enum Line {
        case sample(PerfScriptSample)
        /// A sample that names no process and no thread: nobody can tell where its comm ends.
        case withoutThread
        /// A record that is no sample: `PERF_RECORD_MMAP2 …`.
        case record
        /// The user part of stacks that were printed before; the number says of which.
        case deferred(cookie: UInt64)
    }

    /// Reads a line, or gives nil when it has none of these shapes. `words` is room to work in.
    /// - Parameter needsTime: the line stands where frames do, so only a time makes it a sample.
    static func parse(_ line: UnsafeRawBufferPointer, needsTime: Bool, words: inout [Range<Int>]) -> Line? {
        if needsTime, !mayHoldTime(line) { return nil }
        split(line, into: &words)
        guard !words.isEmpty else { return nil }
        let timed = timed(line, words)
        if let timed, timed.isAsPrinted || needsTime { return timed.line }
        if needsTime { return nil }
        if let record = record(line, words, from: 0) { return record }
        // A comm may hold what looks like number and time: then the number behind it counts.
        let untimed = untimed(line, words)
        guard let timed, case .sample(let other) = timed.line else { return untimed.map { .sample($0) } ?? timed?.line }
        // What looks like a time, and has not the digits that perf prints, needs an event behind it.
        guard let untimed else { return other.comm.count <= 15 && !other.event.isEmpty ? timed.line : nil }
        let isLater = untimed.thread.lowerBound > other.thread.lowerBound
        return isLater && untimed.comm.count <= 15 || other.comm.count > 15 ? .sample(untimed) : timed.line
    }

    /// Whether a line is certainly a frame: an address as wide as perf writes it, where in a sample's line a comm would stand, and behind it
    /// neither a time nor a processor.
    @inline(__always)
    static func isPlainFrame(_ line: UnsafeRawBufferPointer, _ start: PerfScriptFrame.Start) -> Bool {
        guard line[0] == UInt8(ascii: "\t"), start.addressEnd >= 17, start.symbol + 1 < line.count else { return false }
        let first = line[start.symbol]
        return !first.isDecimalDigit && !(first == UInt8(ascii: "[") && line[start.symbol + 1].isDecimalDigit)
    }

    /// Whether a word of the line may be a time. Few lines of frames have one that looks so.
    @inline(__always)
    static func mayHoldTime(_ line: UnsafeRawBufferPointer) -> Bool {
        guard let base = line.baseAddress else { return false }
        let end = base + line.count
        var place = find(colon, from: base, to: end)
        while place < end {
            let index = place - base
            if index > 2, line[index - 1].isDecimalDigit, index + 1 == line.count || line[index + 1].isSpace { return true }
            place = find(colon, from: place + 1, to: end)
        }
        return false
    }

    // MARK: Shapes

    /// Where the numbers stand that come before fields, and whether they are certainly a process's and a thread's.
    private typealias Numbers = (index: Int, isCertain: Bool)

    /// `isAsPrinted`: the time has the digits that perf prints.
    private static func timed(_ line: UnsafeRawBufferPointer, _ words: [Range<Int>]) -> (line: Line, isAsPrinted: Bool)? {
        var found: (numbers: Int, after: Int)?
        var isTimeAlone = false
        for index in words.indices where isTime(line, words[index]) {
            guard let numbers = numbers(line, words, before: index), numbers.isCertain || !isPadded(words, index, to: 12) else {
                isTimeAlone = isTimeAlone || found == nil && words[index].count >= 9
                continue
            }
            if found != nil, !fitsComm(words, numbers.index) { break }
            found = (numbers.index, index + 1)
        }
        guard let found else { return isTimeAlone ? (.withoutThread, false) : nil }
        let time = line[words[found.after - 1]]
        return (
            (found.after < words.count && mayNameRecord(line, words[found.after]) ? record(line, words, from: found.after) : nil)
                ?? .sample(sample(line, words, numbers: found.numbers, after: found.after)),
            time.count > 7 && time[time.endIndex - 8] == UInt8(ascii: ".") || time.count > 10 && time[time.endIndex - 11] == UInt8(ascii: ".")
        )
    }

    private static func untimed(_ line: UnsafeRawBufferPointer, _ words: [Range<Int>]) -> PerfScriptSample? {
        var found: (numbers: Int, after: Int)?
        for index in words.indices.dropFirst() {
            let isEvent = isEvent(line, words[index])
            guard isEvent || isAddress(line, words, index) else { continue }
            let after = index > 1 && isPeriod(line, words, index - 1) ? index - 1 : index
            guard let numbers = numbers(line, words, before: after), numbers.isCertain else { continue }
            if found != nil, !fitsComm(words, numbers.index) { break }
            found = (numbers.index, after)
            if !isEvent { break }
        }
        if found == nil {
            var after = words.count
            while after > 1, PerfScriptField.isPageSize(line[words[after - 1]]) { after -= 1 }
            if after > 1, isPeriod(line, words, after - 1) { after -= 1 }
            // A number alone may be a field: a physical address.
            if let numbers = numbers(line, words, before: after), numbers.isCertain, fitsComm(words, numbers.index),
                after > 1 || !(16...17).contains(words[0].upperBound)
            {
                found = (numbers.index, after)
            }
        }
        if found == nil {
            // Fields without event: what stands before them is enough.
            for index in words.indices where fitsComm(words, index) && isNumbers(line, words[index]) {
                let hasProcessor = index + 1 < words.count && isProcessor(line, words[index + 1])
                guard hasProcessor || line[words[index]].contains(slashByte) && fieldWidth(words, index) >= 12 else { continue }
                var after = index + (hasProcessor ? 2 : 1)
                if after < words.count, isMisc(line, words[after]) { after += 1 }
                found = (index, after)
            }
        }
        return found.map { sample(line, words, numbers: $0.numbers, after: $0.after) }
    }

    @inline(__always)
    private static func mayNameRecord(_ line: UnsafeRawBufferPointer, _ word: Range<Int>) -> Bool {
        let first = line[word.lowerBound]
        return first == UInt8(ascii: "P") || first == UInt8(ascii: "D")
    }

    private static func record(_ line: UnsafeRawBufferPointer, _ words: [Range<Int>], from start: Int) -> Line? {
        for index in start..<max(start, min(words.count, start == 0 ? 5 : start + 1)) {
            guard mayNameRecord(line, words[index]) else { continue }
            if line[words[index]].starts(with: "PERF_RECORD_".utf8) { return .record }
            if index + 3 < words.count, line[words[index]].elementsEqual("DEFERRED".utf8),
                line[words[index + 1]].elementsEqual("CALLCHAIN".utf8), line[words[index + 2]].elementsEqual("[cookie:".utf8)
            {
                return .deferred(cookie: hexadecimal(line[words[index + 3]].prefix(while: \.isHexadecimalDigit)))
            }
        }
        return nil
    }

    private static func sample(_ line: UnsafeRawBufferPointer, _ words: [Range<Int>], numbers: Int, after: Int) -> PerfScriptSample {
        let pair = words[numbers]
        let slash = pair.first { line[$0] == slashByte }
        // Old versions pad the thread's number behind the slash.
        let isDivided = slash == nil && numbers > 0 && isProcessBeforeSlash(line, words[numbers - 1])
        let first = isDivided ? numbers - 1 : numbers
        var sample = PerfScriptSample(
            comm: first > 0 ? words[0].lowerBound..<words[first - 1].upperBound : pair.lowerBound..<pair.lowerBound,
            process: isDivided ? words[first].dropLast() : slash.map { pair.lowerBound..<$0 },
            thread: (slash.map { $0 + 1 } ?? pair.lowerBound)..<pair.upperBound,
            event: pair.upperBound..<pair.upperBound, rest: words[after - 1].upperBound)
        // perf pads these letters to six bytes, whatever follows.
        if after - 1 > numbers, isMisc(line, words[after - 1]) { sample.rest = min(words[after - 1].lowerBound + 5, line.count) }
        var index = after
        if index < words.count, isDigits(line, words[index]),
            fieldWidth(words, index) < 18 || index + 1 < words.count && isEvent(line, words[index + 1])
        {
            // A period of 0 is perf's way of saying that it knows none.
            if let period = decimal(line, words[index]), period > 0 { sample.weight = period }
            sample.rest = words[index].upperBound
            index += 1
        }
        if index + 1 < words.count, line[words[index]].elementsEqual("raw".utf8), isEvent(line, words[index + 1]) {
            sample.event = words[index].lowerBound..<(words[index + 1].upperBound - 1)
            sample.rest = words[index + 1].upperBound
        } else if index < words.count, line[words[index].upperBound - 1] == colon {
            sample.event = words[index].lowerBound..<(words[index].upperBound - 1)
            sample.rest = words[index].upperBound
        }
        return sample
    }

    /// The numbers in front of the word at `end`, with processor, letters and time of day between them.
    private static func numbers(_ line: UnsafeRawBufferPointer, _ words: [Range<Int>], before end: Int) -> Numbers? {
        var index = end - 1
        if index >= 1, isClock(line, words[index]), isDate(line, words[index - 1]) { index -= 2 }
        // Letters of `-F +misc`, or of newer versions between processor and time: `d..2.`
        if index >= 1, isMisc(line, words[index]), isNumbers(line, words[index - 1]) || isProcessor(line, words[index - 1]) {
            index -= 1
        }
        var isCertain = false
        if index >= 1, isProcessor(line, words[index]) {
            isCertain = true
            index -= 1
        }
        guard index >= 0, isNumbers(line, words[index]) else { return nil }
        isCertain =
            isCertain || line[words[index]].contains(slashByte) || words[index].count >= 4 && end < words.count && isTime(line, words[end])
            || index > 0 && isProcessBeforeSlash(line, words[index - 1])
        // A number that ends at the sixteenth byte is a comm, padded.
        return (index, isCertain || (index == 0 ? line[0].isSpace && words[0].upperBound != 16 : fieldWidth(words, index) > 5))
    }

    /// Whether what stands before numbers is no longer than a comm can be.
    private static func fitsComm(_ words: [Range<Int>], _ numbers: Int) -> Bool {
        numbers == 0 || words[numbers - 1].upperBound - words[0].lowerBound <= 15
    }

    /// Bytes from the end of the word before to the end of this one: one blank, and the width that perf padded to.
    private static func fieldWidth(_ words: [Range<Int>], _ index: Int) -> Int {
        words[index].upperBound - (index > 0 ? words[index - 1].upperBound : 0)
    }

    private static func isPadded(_ words: [Range<Int>], _ index: Int, to width: Int) -> Bool {
        // The colon belongs to the word.
        fieldWidth(words, index) > width + 1
    }

    private static func isPeriod(_ line: UnsafeRawBufferPointer, _ words: [Range<Int>], _ index: Int) -> Bool {
        isDigits(line, words[index]) && fieldWidth(words, index) >= 11
    }

    /// An instruction's address behind fields: perf pads it to 16 digits.
    private static func isAddress(_ line: UnsafeRawBufferPointer, _ words: [Range<Int>], _ index: Int) -> Bool {
        fieldWidth(words, index) >= 17 && line[words[index]].allSatisfy(\.isHexadecimalDigit)
    }

    /// Where the address of the sample's instruction begins behind the event, in text that may hold other fields before it; or nil.
    ///
    /// perf pads both it and the address of `-F +addr` to 16 digits, but sets another blank before it.
    static func instruction(_ line: UnsafeRawBufferPointer, from start: Int) -> Int? {
        var place = start
        var previous = start
        var isFirst = true
        var isBehindAddress = false
        var last: Int?
        while place < line.count {
            while place < line.count, line[place].isSpace { place += 1 }
            let word = place
            while place < line.count, !line[place].isSpace { place += 1 }
            guard place > word else { break }
            if line[word..<place].allSatisfy(\.isHexadecimalDigit) {
                let width = place - previous
                if isFirst {
                    isBehindAddress = width == 17 && place - word < 16
                    if !isBehindAddress, width >= 17 || place - word >= 4 { return word }
                } else if width == 17 {
                    if isBehindAddress { return word }
                    if place - word >= 8 { last = word }
                }
            }
            isFirst = false
            previous = place
        }
        return last
    }

    // MARK: Words

    private static let colon = UInt8(ascii: ":")
    private static let slashByte = UInt8(ascii: "/")

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
            } else if line[index] == slashByte, digits > 0, slashes == 0 {
                (digits, slashes) = (0, 1)
            } else if line[index] != UInt8(ascii: "-") || digits > 0 {
                return false
            }
        }
        return digits > 0
    }

    /// `123/`
    private static func isProcessBeforeSlash(_ line: UnsafeRawBufferPointer, _ word: Range<Int>) -> Bool {
        line[word.upperBound - 1] == slashByte && word.count > 1 && isNumbers(line, word.dropLast())
    }

    private static func isDigits(_ line: UnsafeRawBufferPointer, _ word: Range<Int>) -> Bool {
        line[word].allSatisfy(\.isDecimalDigit)
    }

    /// `[003]`
    private static func isProcessor(_ line: UnsafeRawBufferPointer, _ word: Range<Int>) -> Bool {
        word.count > 2 && line[word.lowerBound] == UInt8(ascii: "[") && line[word.upperBound - 1] == UInt8(ascii: "]")
            && isDigits(line, word.dropFirst().dropLast())
    }

    /// `12345.678901:`
    private static func isTime(_ line: UnsafeRawBufferPointer, _ word: Range<Int>) -> Bool {
        word.count > 3 && line[word.upperBound - 1] == colon && isDecimal(line, word.dropLast())
    }

    private static func isDecimal(_ line: UnsafeRawBufferPointer, _ word: Range<Int>) -> Bool {
        var points = 0
        for index in word {
            if line[index] == UInt8(ascii: ".") { points += 1 } else if !line[index].isDecimalDigit { return false }
        }
        return points == 1
    }

    /// `cycles:P:`, which no number is.
    private static func isEvent(_ line: UnsafeRawBufferPointer, _ word: Range<Int>) -> Bool {
        word.count > 1 && line[word.upperBound - 1] == colon && line[word].contains { ($0 | 0x20) &- UInt8(ascii: "a") < 26 }
            && !isTime(line, word)
    }

    /// Letters of `-F +misc`, `U`, or of newer versions between processor and time, `d..2.`
    private static func isMisc(_ line: UnsafeRawBufferPointer, _ word: Range<Int>) -> Bool {
        word.count <= 6 && line[word].contains { !$0.isDecimalDigit }
            && line[word].allSatisfy { $0.isDecimalDigit || $0 == UInt8(ascii: ".") || ($0 | 0x20) &- UInt8(ascii: "a") < 26 }
    }

    /// `2026-03-01`
    private static func isDate(_ line: UnsafeRawBufferPointer, _ word: Range<Int>) -> Bool {
        word.count == 10 && line[word.lowerBound + 4] == UInt8(ascii: "-") && line[word.lowerBound + 7] == UInt8(ascii: "-")
            && line[word].allSatisfy { $0.isDecimalDigit || $0 == UInt8(ascii: "-") }
    }

    /// `12:34:56.100000`
    private static func isClock(_ line: UnsafeRawBufferPointer, _ word: Range<Int>) -> Bool {
        word.count > 8 && line[word.lowerBound + 2] == colon && line[word.lowerBound + 5] == colon
            && isDecimal(line, (word.lowerBound + 6)..<word.upperBound)
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

/// The value of hexadecimal digits, of which the last sixteen count.
func hexadecimal(_ digits: some Collection<UInt8>) -> UInt64 {
    digits.reduce(0) { $0 << 4 | UInt64($1 & 15 + ($1 >= UInt8(ascii: "A") ? 9 : 0)) }
}

extension UInt8 {
    var isDecimalDigit: Bool { self &- UInt8(ascii: "0") < 10 }
    var isSpace: Bool { self == UInt8(ascii: " ") || self == UInt8(ascii: "\t") }
    var isHexadecimalDigit: Bool { isDecimalDigit || (self | 0x20) &- UInt8(ascii: "a") < 6 }
}
