/// 1234567 as 1,234,567.
func grouped(_ number: UInt64) -> String {
    var digits = Array(String(number))
    var index = digits.count - 3
    while index > 0 {
        digits.insert(",", at: index)
        index -= 3
    }
    return String(digits)
}

/// `1 line`, `2,000 lines`
func counted(_ number: UInt64, _ one: String, _ several: String) -> String { "\(grouped(number)) \(number == 1 ? one : several)" }

/// `3.4 %`; small values have two significant digits.
func percentText(_ share: Double) -> String {
    let percent = share * 100, scale = abs(percent) < 1 ? 100.0 : 10.0
    return "\((percent * scale).rounded() / scale) %"
}

/// `10.0 s`
func significantSeconds(_ seconds: Double) -> String { "\((seconds * 10).rounded() / 10) s" }
