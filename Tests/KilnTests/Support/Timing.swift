import Foundation
import Synchronization
import Testing

extension Tag {
    /// What the test expects depends on how long something takes, so that other work on the machine can make it fail.
    @Tag static var timing: Self
}

/// Tests with the tag `timing` are tried again where they fail, twice at most; on an emulated machine (KILN_TEST_EMULATED) all tests are, because
/// there everything takes many times as long. What fails in the last attempt fails the run.
///
/// The issues of earlier attempts are shown as known ones. A crash ends the run in any attempt, and an issue that is recorded outside of the
/// test's task, by a thread of its own, counts at once.
struct TimingRetries: TestTrait, SuiteTrait, TestScoping {
    static let retries = 2
    let isRecursive = true
    private static let isEmulated = ProcessInfo.processInfo.environment["KILN_TEST_EMULATED"] != nil

    func scopeProvider(for test: Test, testCase: Test.Case?) -> TimingRetries? {
        testCase != nil && (test.tags.contains(.timing) || Self.isEmulated) ? self : nil
    }

    func provideScope(for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void) async throws {
        for attempt in 1...Self.retries {
            let failed = Mutex(false)
            try await withKnownIssue("attempt \(attempt) of a test that depends on time", isIntermittent: true) {
                try await function()
            } matching: { _ in
                // A test that cancels itself is skipped, not tried again.
                guard !Task.isCancelled else { return false }
                failed.withLock { $0 = true }
                return true
            }
            guard failed.withLock({ $0 }) else { return }
            FileHandle.standardError.write(Data("RETRIED after attempt \(attempt): \(test.name)\n".utf8))
        }
        try await function()
    }
}

extension Trait where Self == TimingRetries {
    static var retriesOfTiming: Self { TimingRetries() }
}

/// The time that a hypervisor took from the CPUs since the start of the system, in nanoseconds: `steal` of /proc/stat (proc(5)), which counts ticks.
func stolenTime() throws -> Double {
    let fields = try String(contentsOfFile: "/proc/stat", encoding: .utf8).prefix { $0 != "\n" }.split(separator: " ")
    guard fields.count > 8, let ticks = Double(fields[8]) else { return 0 }
    return ticks / Double(sysconf(Int32(_SC_CLK_TCK))) * 1e9
}
