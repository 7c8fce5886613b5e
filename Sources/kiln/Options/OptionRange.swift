import ArgumentParser

/// Throws if the number of an option lies outside the range that makes sense.
func require(_ option: String, _ value: Double, in range: ClosedRange<Double>, unit: String = "seconds") throws {
    guard range.contains(value) else {
        throw ValidationError("\(option) \(value) makes no sense: give \(range.lowerBound) to \(range.upperBound) \(unit).")
    }
}
