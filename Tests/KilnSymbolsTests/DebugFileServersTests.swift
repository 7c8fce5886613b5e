import Foundation
@testable import KilnSymbols
import SystemPackage
import TestSupport
import Testing

/// Debug files from a server that the test starts. What sessions make of them is the matter of DebuginfodTests.
@Suite(.serialized, .enabled(if: Tools.compiler && Tools.binutils && Tools.objcopy && Tools.has("debuginfod"), "needs cc, nm, strip, objcopy and debuginfod"))
struct DebugFileServersTests {
    /// With the library, and with the program that takes its place in a static executable.
    @Test(arguments: [true, false]) func nobodyIsAskedBeforeItIsSaidAndThenAllNamesAreThere(usesLibrary: Bool) throws {
        // No other test, and no other time, has this build.
        let buildID = UUID().uuidString.replacing("-", with: "").lowercased()
        let library = try StrippedLibrary(buildID: buildID)
        defer { library.remove() }
        let served = library.workshop.path("served"), log = library.workshop.path("log"), port = try freePort()
        try FileManager.default.createDirectory(atPath: served, withIntermediateDirectories: true)
        try FileManager.default.copyItem(atPath: library.debugFile, toPath: served + "/library.debug")
        setenv("DEBUGINFOD_CACHE_PATH", library.workshop.path("cache"), 1)
        let server = try TestSupport.Child("debuginfod", ["-v", "-F", "-p", "\(port)", "-d", ":memory:", served], output: log, errors: log)
        defer {
            kill(server.pid, SIGTERM)
            server.wait()
        }
        func text() -> String { (try? String(contentsOfFile: log, encoding: .utf8)) ?? "" }
        #expect(eventually(within: 60) { text().contains("fts traversed") })

        let servers = DebugFileServers(urls: "http://127.0.0.1:\(port)", usesLibrary: usesLibrary)
        #expect(!library.isWhole(try library.table(servers: servers)))
        #expect(!text().contains("GET "))
        var ended = 0
        servers.ask(.init(progress: { if $0 == nil { ended += 1 } }, isInterrupted: { false }))
        #expect(library.isWhole(try library.table(servers: servers)), "\(servers.problem ?? "")")
        #expect(text().contains("GET /buildid/\(buildID)/debuginfo"))
        #expect(ended == 1 && servers.missing.isEmpty && servers.problem == nil)

        let other = try StrippedLibrary(buildID: String(buildID.reversed()))
        defer { other.remove() }
        let table = try other.table(servers: servers)
        #expect(!other.isWhole(table) && table.problem == nil)
        #expect(servers.missing == [StrippedLibrary.path] && servers.problem == nil)

        let interrupted = DebugFileServers(urls: "http://127.0.0.1:\(port)", usesLibrary: usesLibrary)
        interrupted.ask(.init(progress: { _ in }, isInterrupted: { true }))
        #expect(!library.isWhole(try library.table(servers: interrupted)))
        #expect(interrupted.problem?.contains("interrupted") == true)
    }
}
