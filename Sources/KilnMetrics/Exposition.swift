import PrintableText

/// Writes metrics in Prometheus' text format 0.0.4:
/// https://github.com/prometheus/docs/blob/main/docs/instrumenting/exposition_formats.md
public struct Exposition {
    /// Prometheus 3 refuses a scrape without this header.
    public static let contentType = "text/plain; version=0.0.4; charset=utf-8"

    public enum Kind: String, Sendable {
        case counter, gauge, histogram
    }

    public private(set) var bytes: [UInt8] = []
    private var name: [UInt8] = []

    /// - Parameter capacity: How many bytes are expected: a text of megabytes is otherwise copied as it grows.
    public init(capacity: Int = 0) { bytes.reserveCapacity(capacity) }

    /// Begins a metric. Its samples follow.
    ///
    /// - Parameters:
    ///   - name: `[a-z_]*`, as the naming rules want it: with the unit, and `_total` for counters.
    ///   - help: What it counts, in one line.
    public mutating func metric(_ name: String, _ kind: Kind, _ help: String) {
        self.name = Array(name.utf8)
        append("# HELP ")
        append(name)
        append(" ")
        for byte in help.utf8 { escape(byte, quotes: false, into: &bytes) }
        append("\n# TYPE ")
        append(name)
        append(" ")
        append(kind.rawValue)
        append("\n")
    }

    /// A sample of the metric that was begun last.
    public mutating func sample(_ labels: Labels, _ value: Double) { line("", labels, value) }

    /// A metric of one sample, without labels.
    public mutating func single(_ name: String, _ kind: Kind, _ help: String, _ value: Double) {
        metric(name, kind, help)
        sample(Labels(), value)
    }

    /// The samples of a histogram: `_bucket` with cumulative counts, `_sum` and `_count`.
    public mutating func histogram(_ labels: Labels, _ totals: HistogramTotals, _ bounds: BucketBounds) {
        // Most lines of a scrape are these, so what they begin with is put together once.
        let start = name + Array("_bucket{".utf8) + labels.text + (labels.text.isEmpty ? [] : [UInt8(ascii: ",")])
        var sum = 0.0
        for (place, end) in bounds.lineEnds.enumerated() {
            sum += totals.buckets.isEmpty ? 0 : totals.buckets[place]
            bytes.append(contentsOf: start)
            bytes.append(contentsOf: end)
            append(number: sum)
            bytes.append(UInt8(ascii: "\n"))
        }
        line("_sum", labels, totals.sum)
        line("_count", labels, sum)
    }

    private mutating func line(_ suffix: StaticString, _ labels: Labels, _ value: Double) {
        bytes.append(contentsOf: name)
        suffix.withUTF8Buffer { bytes.append(contentsOf: $0) }
        if !labels.text.isEmpty {
            bytes.append(UInt8(ascii: "{"))
            bytes.append(contentsOf: labels.text)
            bytes.append(UInt8(ascii: "}"))
        }
        bytes.append(UInt8(ascii: " "))
        append(number: value)
        bytes.append(UInt8(ascii: "\n"))
    }

    private mutating func append(_ text: String) { bytes.append(contentsOf: text.utf8) }

    private mutating func append(number: Double) {
        // Most are whole, and a String for each would be half of the time of a scrape.
        guard number >= 0, number < 9e15, let whole = UInt64(exactly: number) else { return append(numberText(number)) }
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 20) { digits in
            var rest = whole, first = digits.count
            repeat {
                first -= 1
                digits[first] = UInt8(ascii: "0") + UInt8(rest % 10)
                rest /= 10
            } while rest > 0
            bytes.append(contentsOf: UnsafeBufferPointer(rebasing: digits[first...]))
        }
    }
}

/// A number as the format has it.
func numberText(_ number: Double) -> String {
    if number.isNaN { return "NaN" }
    if number.isInfinite { return number > 0 ? "+Inf" : "-Inf" }
    // Without ".0", as other exporters write it.
    return Int64(exactly: number).map(String.init) ?? "\(number)"
}

/// The labels of a sample. The only place where values, which strangers choose, become text.
public struct Labels: Hashable, Sendable {
    /// `command="GET",phase="exec"`
    let text: [UInt8]

    /// - Parameter labels: Names and values, in the order in which they are written.
    public init(_ labels: KeyValuePairs<StaticString, String> = [:]) {
        var text: [UInt8] = []
        for (name, value) in labels {
            if !text.isEmpty { text.append(UInt8(ascii: ",")) }
            name.withUTF8Buffer { text.append(contentsOf: $0) }
            text += [UInt8(ascii: "="), UInt8(ascii: "\"")]
            for byte in value.printable.utf8 { escape(byte, quotes: true, into: &text) }
            text.append(UInt8(ascii: "\""))
        }
        self.text = text
    }
}

/// In values of labels backslashes, ends of lines and quotes are escaped, in the text of HELP only the first two.
private func escape(_ byte: UInt8, quotes: Bool, into text: inout [UInt8]) {
    switch byte {
    case UInt8(ascii: "\\"): text += [byte, byte]
    case UInt8(ascii: "\n"): text += [UInt8(ascii: "\\"), UInt8(ascii: "n")]
    case UInt8(ascii: "\"") where quotes: text += [UInt8(ascii: "\\"), byte]
    default: text.append(byte)
    }
}
