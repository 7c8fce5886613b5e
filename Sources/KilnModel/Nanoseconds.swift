/// A duration, or a time of the kernel's monotonic clock, in nanoseconds.
public struct Nanoseconds: Hashable, Comparable, Sendable, AdditiveArithmetic {
    public var count: UInt64

    public init(_ count: UInt64) { self.count = count }

    public static let zero = Nanoseconds(0)

    public var seconds: Double { Double(count) / 1e9 }

    /// Differences of cumulative numbers are modulo 2^64, like the kernel's additions.
    public static func - (left: Self, right: Self) -> Self { Self(left.count &- right.count) }
    public static func + (left: Self, right: Self) -> Self { Self(left.count &+ right.count) }
    public static func < (left: Self, right: Self) -> Bool { left.count < right.count }
}

extension UInt64 {
    /// Rounds `value`. Negative values and NaN become 0, and values that are too large become the largest number. For input from outside.
    public init(saturating value: Double) {
        self = value > 0 ? UInt64(exactly: value.rounded()) ?? .max : 0
    }

    /// The sum of two numbers, or the largest number if it overflows.
    func adding(saturating other: UInt64) -> UInt64 { [self, other].saturatingSum }
    func subtracting(saturating other: UInt64) -> UInt64 { self > other ? self - other : 0 }
    func multiplied(saturating other: UInt64) -> UInt64 {
        let (product, overflow) = multipliedReportingOverflow(by: other)
        return overflow ? .max : product
    }
}

extension Sequence<UInt64> {
    /// The sum, or the largest number if it overflows. For input from outside.
    public var saturatingSum: UInt64 {
        reduce(0) { sum, next in
            let (added, overflow) = sum.addingReportingOverflow(next)
            return overflow ? .max : added
        }
    }
}

extension Nanoseconds: CustomStringConvertible {
    /// Three significant digits with a suitable unit: `850 ns`, `12.3 us`, `1.05 s`.
    public var description: String {
        let units: [(nanoseconds: Double, name: String)] = [(1, "ns"), (1e3, "us"), (1e6, "ms"), (1e9, "s")]
        var unit = units.last(where: { Double(count) >= $0.nanoseconds }) ?? units[0]
        // 999,999 ns is 1.00 ms, not 1000 us.
        if let next = units.first(where: { $0.nanoseconds > unit.nanoseconds }), Double(count) >= next.nanoseconds * 0.9995 {
            unit = next
        }
        return significant(Double(count) / unit.nanoseconds, whole: unit.nanoseconds == 1) + " " + unit.name
    }
}

/// A number with three significant digits and no exponent. `whole` omits decimals.
func significant(_ value: Double, whole: Bool) -> String {
    if whole || value >= 99.95 { return String(Int(value.rounded())) }
    let decimals = value >= 9.995 ? 1 : 2
    let scale = decimals == 1 ? 10.0 : 100.0
    let scaled = Int((value * scale).rounded())
    let fraction = String(scaled % Int(scale))
    return "\(scaled / Int(scale))." + String(repeating: "0", count: decimals - fraction.count) + fraction
}

/// 1234567 as 1,234,567.
public func grouped(_ number: UInt64) -> String {
    var digits = Array(String(number))
    var index = digits.count - 3
    while index > 0 {
        digits.insert(",", at: index)
        index -= 3
    }
    return String(digits)
}
