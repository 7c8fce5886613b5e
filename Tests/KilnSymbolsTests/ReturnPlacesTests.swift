import Foundation
import KilnSymbols
import TestSupport
import Testing

/// The return instructions of functions, against a disassembler.
@Suite(.enabled(if: Tools.binutils, "needs objdump (binutils)"))
struct ReturnPlacesTests {
    /// The addresses of all return instructions, by objdump.
    private static func disassembled(_ path: String) throws -> Set<UInt64> {
        let script = #"objdump -d -w --no-show-raw-insn "$0" | awk '/:\t((repz|bnd|data16|cs|ds|rex\.W) )*ret *(\$.*)?$/ { print $1 }'"#
        return Set(try run("sh", ["-c", script, path]).split(separator: "\n").compactMap { UInt64($0.dropLast(), radix: 16) })
    }

    private struct Comparison {
        var equal = 0, returns = 0
        var different: [String] = []
        var refused: [String] = []

        init(_ path: String) throws {
            let list = try FunctionList(of: path), expected = try ReturnPlacesTests.disassembled(path).sorted()
            for index in 0..<list.count {
                let function = list.function(index)
                guard let size = function.size, function.obstacle == nil || function.obstacle == .part else { continue }
                do throws(ReturnPlacesError) {
                    let found = try list.returnPlaces(of: function).returns.map { $0 - function.offset + function.address }
                    let first = expected.partitioningIndex { $0 >= function.address }
                    let there = expected[first...].prefix { $0 < function.address + size }
                    if found.elementsEqual(there) { equal += 1 } else { different.append(function.name) }
                    returns += found.count
                } catch {
                    refused.append("\(function.name): \(error)")
                }
            }
        }
    }

    @Test(.enabled(if: access("/usr/bin/redis-server", R_OK) == 0, "needs redis-server")) func aServersReturnsAreTheDisassemblers() throws {
        let found = try Comparison("/usr/bin/redis-server")
        #expect(found.different.isEmpty, "\(found.different)")
        #expect(found.equal > 3000 && found.returns > 4000, "\(found.equal) functions, \(found.returns) returns")
        #expect(found.refused.count < found.equal / 100, "\(found.refused)")
    }

    /// It has handwritten functions for the vector instructions of each processor.
    @Test func theCLibrarysReturnsAreTheDisassemblers() throws {
        let path = try #require(mappedCodeFiles(ofProcess: getpid()).first { $0.contains("/libc.so") || $0.contains("/libc-") })
        let found = try Comparison(path)
        #expect(found.different.isEmpty, "\(found.different)")
        #expect(found.equal > 2000 && found.returns > 5000, "\(found.equal) functions, \(found.returns) returns")
        #expect(found.refused.count < found.equal / 50, "\(found.refused)")
    }

    @Test(.enabled(if: Tools.go, "needs go (golang-go)")) func aGoProgramsReturnsAreTheDisassemblers() throws {
        let path = try run("go", ["env", "GOROOT"]).trimmingCharacters(in: .whitespacesAndNewlines) + "/bin/go"
        let list = try FunctionList(of: path)
        #expect(list.isGo)
        let found = try Comparison(path)
        #expect(found.different.isEmpty, "\(found.different)")
        #expect(found.equal > 10_000 && found.returns > 10_000, "\(found.equal) functions, \(found.returns) returns")
        #expect(found.refused.count < found.equal / 100, "\(found.refused)")
    }
}

extension [UInt64] {
    /// The first index whose element and all later ones meet the condition.
    fileprivate func partitioningIndex(_ isLater: (UInt64) -> Bool) -> Int {
        var low = 0, high = count
        while low < high {
            let middle = (low + high) / 2
            if isLater(self[middle]) { high = middle } else { low = middle + 1 }
        }
        return low
    }
}
