#if !DEBUG
import Foundation
@testable import KilnSymbols
import SystemPackage
import Testing

/// Times hold for release builds on a machine that does nothing else:
/// `swift test -c release -Xswiftc -enable-testing --filter SymbolSpeedTests`.
@Suite(.serialized) struct SymbolSpeedTests {
    private static func milliseconds(_ work: () throws -> Void) rethrows -> Double {
        var best = Double.infinity
        for _ in 0..<3 { best = min(best, try ContinuousClock().measure(work) / .milliseconds(1)) }
        return best
    }

    private static func debugFile(of path: String) throws -> String? {
        let file = try FileDescriptor.open(FilePath(path), .readOnly, options: .closeOnExec)
        return try file.closeAfter {
            let elf = try ElfFile(reading: file, named: path)
            guard let buildID = try elf.buildID() else { return nil }
            return UnwindSpeedTests.existing([buildID.debugPath])
        }
    }

    /// The largest binaries of a machine: whoever has another one installed adds it here.
    static let swift = (try? run("which", ["swift-frontend"]))?.split(separator: "\n").first.map(String.init) ?? ""
    static let llvm = ["libLLVM-15.so.1", "libLLVM-14.so.1", "libLLVM.so.1"].flatMap(UnwindReferenceTests.libraries)

    @Test(arguments: [(["/usr/bin/redis-server"], 50.0), (UnwindReferenceTests.libraries("libc.so.6"), 50), (llvm, 500), ([swift], 3000)] as [([String], Double)])
    func tablesAreReadInMilliseconds(paths: [String], bound: Double) throws {
        let path = try firstExisting(paths)
        let table = try symbolTable(of: path)
        let elapsed = try Self.milliseconds { _ = try symbolTable(of: path) }
        print("symbols of \(path): \(table.functionCount) functions in \(elapsed) ms")
        #expect(elapsed <= bound, "\(path): \(elapsed) ms")
    }

    @Test(arguments: [UnwindReferenceTests.libraries("libc.so.6"), ["/usr/bin/python3.11"], ["/usr/bin/redis-server"]])
    func inlinedFunctionsAreFoundInMicroseconds(paths: [String]) throws {
        let path = try firstExisting(paths)
        guard let debug = try Self.debugFile(of: path) else { try skipCase("\(path) has no debug file here") }
        let functions = try listedSymbols(of: debug, dynamic: false).filter { $0.isFunction && $0.size > 0 }
        let addresses = stride(from: 0, to: functions.count, by: max(1, functions.count / 500)).map { functions[$0].address + functions[$0].size / 2 }
        var inlined = 0
        let opened = try Self.milliseconds { _ = try InlinedFunctionTests.inlined(debug)?.names(at: addresses[0]) }
        let elapsed = try Self.milliseconds {
            let found = try #require(try InlinedFunctionTests.inlined(debug))
            inlined = addresses.reduce(0) { $0 + found.names(at: $1).count }
        }
        print("inlined of \(debug): first \(opened) ms, \(addresses.count) addresses all over it \(elapsed) ms, \(inlined) inlined")
        #expect(elapsed < 1000)
    }
}
#endif
