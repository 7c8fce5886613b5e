import KilnModel

/// `1 line`, `2,000 lines`
func counted(_ number: UInt64, _ one: String, _ several: String) -> String { "\(grouped(number)) \(number == 1 ? one : several)" }

/// A number of calls: the total, or with an interval the rate per second.
func callsText(_ count: UInt64, in interval: Nanoseconds?) -> String {
    guard let interval else { return grouped(count) }
    let rate = Double(count) / max(interval.seconds, 1e-9)
    return rate >= 9.95 || rate == 0 ? grouped(UInt64(saturating: rate.rounded())) : String(Double(Int(rate * 10 + 0.5)) / 10)
}

/// `3.4 %`; small values have two significant digits.
func percentText(_ share: Double) -> String {
    let percent = share * 100, scale = abs(percent) < 1 ? 100.0 : 10.0
    return "\((percent * scale).rounded() / scale) %"
}

/// `10.0 s`
func significantSeconds(_ seconds: Double) -> String { "\((seconds * 10).rounded() / 10) s" }
