import Foundation

/// Where a program lies on the search path, or nil.
public func program(_ name: String) -> String? {
    let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin"
    return path.split(separator: ":").map { "\($0)/\(name)" }.first { FileManager.default.isExecutableFile(atPath: $0) }
}

/// The first CPU that this process may use, or nil without taskset.
public func firstUsableCPU() -> Int? {
    (0..<1024).first { (try? Child("taskset", ["-c", "\($0)", "true"]).wait()) == 0 }
}

/// Starts a process. Threads of the test runner may block all signals; a child inherits that, and gdb and `perf record -a` wait for SIGCHLD for ever.
public func runWithoutBlockedSignals(_ process: Process) throws {
    var none = sigset_t()
    var before = sigset_t()
    sigemptyset(&none)
    pthread_sigmask(SIG_SETMASK, &none, &before)
    defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
    try process.run()
}

/// A fresh directory that is removed with the value.
public final class TemporaryDirectory {
    public let url: URL

    public init() throws {
        url = FileManager.default.temporaryDirectory.appendingPathComponent("flamegraph-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(at: url) }

    /// Writes a file and returns where it lies.
    public func write(_ bytes: [UInt8], as name: String) throws -> URL {
        let file = url.appendingPathComponent(name)
        try Data(bytes).write(to: file)
        return file
    }
}

/// What xmllint says of a file: nil when it is well-formed XML, and never nil without xmllint.
public func xmllint(_ path: String) throws -> String? {
    let (status, output) = try xmllint(["--noout", path])
    return status == 0 ? nil : output
}

/// The exit status of xmllint and what it printed.
public func xmllint(_ arguments: [String]) throws -> (status: Int32, output: String) {
    guard let xmllint = program("xmllint") else { return (-1, "xmllint is not installed: it is in libxml2-utils") }
    let directory = try TemporaryDirectory(), output = directory.url.appendingPathComponent("output")
    let status = try Child(xmllint, arguments, output: output.path, errors: output.path).wait()
    return (status, try String(contentsOf: output, encoding: .utf8))
}

/// The folder that the tests were built from.
public let checkout = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

/// Where fetched servers and clients lie (Tests/servers/fetch.sh): KILN_SERVERS, or .build-servers in the checkout.
public let fetchedServers: String = ProcessInfo.processInfo.environment["KILN_SERVERS"] ?? checkout.appendingPathComponent(".build-servers").path
