import ArgumentParser

/// Throws if the number of an option lies outside the range that makes sense.
func require(_ option: String, _ value: Double, in range: ClosedRange<Double>, unit: String = "seconds") throws {
    guard range.contains(value) else {
        throw ValidationError("\(option) \(plain(value)) makes no sense: give \(plain(range.lowerBound)) to \(plain(range.upperBound)) \(unit).")
    }
}

/// A whole number without its `.0`.
private func plain(_ value: Double) -> String { Int(exactly: value).map(String.init) ?? "\(value)" }
