import Foundation
@testable import KilnSymbols
import SystemPackage
import TestSupport
import Testing

/// Separate debug files, made as distributions make them.
@Suite(.enabled(if: Tools.compiler && Tools.binutils && Tools.objcopy, "needs cc, nm, strip and objcopy (build-essential)"))
struct DebugFileTests {
    @Test func withoutADebugFileOnlyExportedFunctionsAreNamedAndThatIsNoProblem() throws {
        let library = try StrippedLibrary()
        defer { library.remove() }
        let table = try library.table()
        #expect(table.hasOnlyDynamicSymbols)
        #expect(table.problem == nil)
        #expect(table.functionCount == 1)
    }

    @Test func theDebugFileOfABuildNamesEveryFunction() throws {
        let library = try StrippedLibrary()
        defer { library.remove() }
        try library.install(at: library.buildIDPath)
        let table = try library.table()
        #expect(library.isWhole(table))
        #expect(!table.hasOnlyDynamicSymbols && table.problem == nil)
    }

    @Test(arguments: ["/opt/app/library.debug", "/opt/app/.debug/library.debug", "/usr/lib/debug/opt/app/library.debug"])
    func aLinkedDebugFileIsFoundInEveryPlace(place: String) throws {
        let library = try StrippedLibrary()
        defer { library.remove() }
        try library.link()
        #expect(!library.isWhole(try library.table()))
        try library.install(at: place)
        #expect(library.isWhole(try library.table()))
    }

    @Test func theHostsDebugFilesAreReadWhereTheProcesssTreeHasNone() throws {
        let library = try StrippedLibrary()
        let host = try StrippedLibrary()
        defer {
            library.remove()
            host.remove()
        }
        try host.install(library.debugFile, at: library.buildIDPath)
        #expect(library.isWhole(try library.table(host: host.tree)))
    }

    @Test func aLinkedFileWithAnotherChecksumIsRefusedAndTheReasonNamesIt() throws {
        let library = try StrippedLibrary()
        defer { library.remove() }
        try library.link()
        let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: library.debugFile))
        try handle.seekToEnd()
        try handle.write(contentsOf: Data([0]))
        try handle.close()
        try library.install(at: "/opt/app/library.debug")
        let table = try library.table()
        #expect(!library.isWhole(table))
        #expect(table.problem?.file.hasSuffix("/opt/app/library.debug") == true)
        guard case .otherBuild(let expected, let found)? = table.problem?.problem else {
            Issue.record("\(String(describing: table.problem))")
            return
        }
        #expect(expected.hasPrefix("checksum ") && found.hasPrefix("checksum ") && expected != found)
        #expect(table.reasonForNoFunction.description.contains("another build"))
    }

    @Test func aFileOfAnotherBuildInTheRightPlaceIsRefused() throws {
        let library = try StrippedLibrary()
        let other = try StrippedLibrary(buildID: "ffeeddccbbaa99887766554433221100")
        defer {
            library.remove()
            other.remove()
        }
        try library.install(other.debugFile, at: library.buildIDPath)
        let table = try library.table()
        #expect(!library.isWhole(table))
        #expect(table.problem?.problem == .otherBuild(expected: "build ID \(library.buildID)", found: "build ID \(other.buildID)"))
    }

    @Test func theRightFileBehindAWrongOneIsTaken() throws {
        let library = try StrippedLibrary()
        let other = try StrippedLibrary(buildID: "ffeeddccbbaa99887766554433221100")
        defer {
            library.remove()
            other.remove()
        }
        try library.link()
        try library.install(other.debugFile, at: library.buildIDPath)
        try library.install(at: "/opt/app/.debug/library.debug")
        let table = try library.table()
        #expect(library.isWhole(table))
        #expect(table.problem == nil)
    }

    @Test func symbolicLinksCountFromTheTreesRootAndDoNotLeadOutOfIt() throws {
        let library = try StrippedLibrary()
        defer { library.remove() }
        // Distributions link; absolute links count as they do for the process.
        try library.install(at: "/somewhere/else.debug")
        try library.makeDirectory(for: library.buildIDPath)
        let place = library.inTree(library.buildIDPath)
        try FileManager.default.createSymbolicLink(atPath: place, withDestinationPath: "/somewhere/else.debug")
        #expect(library.isWhole(try library.table()))
        for escape in [library.debugFile, String(repeating: "../", count: 30) + library.debugFile.dropFirst(), "/proc/self/root" + library.debugFile] {
            try FileManager.default.removeItem(atPath: place)
            try FileManager.default.createSymbolicLink(atPath: place, withDestinationPath: escape)
            #expect(!library.isWhole(try library.table()), "\(escape)")
        }
    }

    @Test func aPipeInAnObviousPlaceIsNotOpened() throws {
        let library = try StrippedLibrary()
        defer { library.remove() }
        try library.makeDirectory(for: library.buildIDPath)
        #expect(mkfifo(library.inTree(library.buildIDPath), 0o644) == 0)
        #expect(try library.table().problem?.problem == .notRegularFile)
    }

    @Test func aLinkThatNamesAnotherDirectoryIsNotFollowed() throws {
        let library = try StrippedLibrary()
        defer { library.remove() }
        try library.install(at: "/secret")
        let name = Array("../../secret\0\0\0\0".utf8) + withUnsafeBytes(of: try Self.checksum(of: library.debugFile), Array.init)
        try Data(name).write(to: URL(fileURLWithPath: library.workshop.path("link")))
        try run("objcopy", ["--add-section", ".gnu_debuglink=\(library.workshop.path("link"))", library.inTree(StrippedLibrary.path)])
        #expect(!library.isWhole(try library.table()))
    }

    private static func checksum(of path: String) throws -> UInt32 {
        let file = try FileDescriptor.open(FilePath(path), .readOnly, options: .closeOnExec)
        return try file.closeAfter { try KilnSymbols.checksum(of: file) }
    }

    @Test func damagedDebugFilesGiveATableOrAReason() throws {
        let library = try StrippedLibrary()
        defer { library.remove() }
        try library.install(at: library.buildIDPath)
        let place = URL(fileURLWithPath: library.inTree(library.buildIDPath))
        let sound = try Data(contentsOf: place)
        var random = SeededGenerator(seed: 1848)
        var (named, refused) = (0, 0)
        for round in 0..<600 {
            var damaged = sound
            if round % 3 == 0 {
                damaged = damaged.prefix(Int.random(in: 0..<damaged.count, using: &random))
            } else {
                for _ in 0..<Int.random(in: 1...8, using: &random) {
                    // The headers at both ends are what matters.
                    let near = Int.random(in: 0..<2048, using: &random)
                    let index = Bool.random(using: &random) ? min(near, damaged.count - 1) : max(damaged.count - 1 - near, 0)
                    damaged[index] = UInt8.random(in: 0...255, using: &random)
                }
            }
            try damaged.write(to: place)
            let table = try library.table()
            if library.isWhole(table) { named += 1 }
            if table.problem != nil { refused += 1 }
            #expect(table.functionCount >= 1, "the library's own symbols stay")
        }
        #expect(named > 0 && refused > 0)
    }
}
