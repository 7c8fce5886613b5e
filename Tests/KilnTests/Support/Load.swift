import Foundation

/// The share of their loads that tests give, for machines that are emulated: KILN_TEST_LOAD=0.01.
private let share = ProcessInfo.processInfo.environment["KILN_TEST_LOAD"].flatMap(Double.init) ?? 1

/// How many requests stand for `all` of them on this machine: the first prime from its share on, at least 101.
func load(_ all: UInt64) -> UInt64 {
    share < 1 ? (max(UInt64(Double(all) * share), 101)...).first { isPrime($0) } ?? all : all
}

/// Options that make sessions lighter there, before a test's own: KILN_TEST_OPTIONS="-F 0 --no-syscalls".
let lightOptions = ProcessInfo.processInfo.environment["KILN_TEST_OPTIONS"]?.split(separator: " ").map(String.init) ?? []

private func isPrime(_ number: UInt64) -> Bool {
    number > 1 && !(2...).prefix { $0 * $0 <= number }.contains { number.isMultiple(of: $0) }
}
