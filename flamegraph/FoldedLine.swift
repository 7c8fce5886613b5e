/// One line of folded text: a stack, a blank, a number.
///
/// The last blank before the number divides, so a stack may contain blanks. The number is an unsigned
/// integer or decimal. Blanks after the number and one carriage return before the line feed are tolerated.
struct FoldedLine {
    /// Bytes of the stack, counted from the line's beginning.
    var stackLength: Int
    /// The weight in units of 10^-decimals.
    var weight: UInt64
    /// Digits after the decimal point, 0 to `maximumDecimals`.
    var decimals: Int

    /// Digits after the point that are kept; a weight with more is rounded half up to this many.
    static let maximumDecimals = 9

    /// Reads a line without its line feed.
    static func parse(_ line: UnsafeRawBufferPointer) -> Result<FoldedLine, RejectedLine.Reason> {
        var end = line.count
        if end > 0, line[end - 1] == UInt8(ascii: "\r") { end -= 1 }
        while end > 0, line[end - 1].isBlank { end -= 1 }
        var start = end
        while start > 0, line[start - 1].isDigit { start -= 1 }
        // Nearly every line: plain digits after a blank, too few to overflow.
        if start > 0, start < end, end - start <= 19, line[start - 1].isBlank {
            var weight: UInt64 = 0
            for index in start..<end { weight = weight &* 10 &+ UInt64(line[index] & 15) }
            return .success(FoldedLine(stackLength: start - 1, weight: weight, decimals: 0))
        }
        while start > 0, line[start - 1].isDigit || line[start - 1] == UInt8(ascii: ".") { start -= 1 }
        if start == end { return .failure(.noNumber) }
        guard start > 0, line[start - 1].isBlank else { return .failure(.noBlankBeforeNumber) }
        return number(UnsafeRawBufferPointer(rebasing: line[start..<end])).map {
            FoldedLine(stackLength: start - 1, weight: $0.weight, decimals: $0.decimals)
        }
    }

    /// Reads digits with at most one point in or after them, exactly.
    private static func number(
        _ digits: UnsafeRawBufferPointer
    ) -> Result<(weight: UInt64, decimals: Int), RejectedLine.Reason> {
        let point = digits.firstIndex(of: UInt8(ascii: ".")) ?? digits.count
        var fraction = digits[min(point + 1, digits.count)...]
        guard point > 0, !fraction.contains(UInt8(ascii: ".")) else { return .failure(.malformedNumber) }
        var roundUp = false
        if fraction.count > maximumDecimals {
            roundUp = fraction[fraction.startIndex + maximumDecimals] >= UInt8(ascii: "5")
            fraction = fraction.prefix(maximumDecimals)
        }
        if !roundUp { while fraction.last == UInt8(ascii: "0") { fraction.removeLast() } }
        var weight: UInt64 = 0
        for byte in [digits[..<point], fraction].joined() {
            let (product, overflowed) = weight.multipliedReportingOverflow(by: 10)
            let (sum, carried) = product.addingReportingOverflow(UInt64(byte & 15))
            if overflowed || carried { return .failure(.numberTooLarge) }
            weight = sum
        }
        let (rounded, overflowed) = weight.addingReportingOverflow(roundUp ? 1 : 0)
        return overflowed ? .failure(.numberTooLarge) : .success((rounded, fraction.count))
    }
}

/// A line of folded text that could not be counted, and why.
public struct RejectedLine: Equatable, Sendable, CustomStringConvertible {
    public enum Reason: Error, Equatable, Sendable {
        /// The line does not end in a number.
        case noNumber
        /// The line has one number where two were asked for.
        case noSecondNumber
        /// The line ends in digits, but they are part of a word: `main12`, `main -5`, or a number alone.
        case noBlankBeforeNumber
        /// Digits and points that are no number: `1.2.3`, `.5`.
        case malformedNumber
        /// The number needs more than 64 bits.
        case numberTooLarge
        /// With this line the total would need more than 64 bits.
        case totalTooLarge
        /// The stacks need more nodes than the tree can number, 2^31.
        case tooManyFrames
    }

    /// The input the line came from: 0 for the first, 1 for the next after `endInput()`.
    public var input: Int
    /// The line's number in its input, from 1.
    public var number: Int
    public var reason: Reason
    /// The line's first bytes, at most `excerptLimit`; not necessarily valid UTF-8.
    public var excerpt: [UInt8]

    static let excerptLimit = 80

    public var description: String {
        "line \(number): \(reason): \(displayString(excerpt))"
    }
}

extension RejectedLine.Reason: CustomStringConvertible {
    public var description: String {
        switch self {
        case .noNumber: "does not end in a number"
        case .noSecondNumber: "has one number, not two"
        case .noBlankBeforeNumber: "no stack and blank before the number"
        case .malformedNumber: "malformed number"
        case .numberTooLarge: "number beyond 64 bits"
        case .totalTooLarge: "total beyond 64 bits"
        case .tooManyFrames: "more than 2^31 frames"
        }
    }
}

extension UInt8 {
    fileprivate var isDigit: Bool { self &- UInt8(ascii: "0") < 10 }
    fileprivate var isBlank: Bool { self == UInt8(ascii: " ") || self == UInt8(ascii: "\t") }
}
