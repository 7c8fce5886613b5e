import Foundation
import Glibc
import TestSupport
import Testing

@testable import KilnSymbols

@Suite struct CodeLayersTests {
    /// Code from a file that can't be read, or of memory without a file.
    private static func code(_ start: UInt64, _ end: UInt64, inode: UInt64, offset: UInt64 = 0) -> PlacedCode {
        PlacedCode(
            mapping: Mapping(
                start: start, end: end, fileOffset: offset, permissions: [.read, .execute], device: .init(major: 8, minor: 1), inode: inode,
                backing: inode == 0 ? .anonymous : .file(path: "/lib/\(inode).so", isDeleted: false)),
            source: .nothing(.anonymousMemory)
        )
    }

    private var layers = CodeLayers()
    private var numbers: UInt64 = 0

    /// The number of the reading.
    private mutating func place(_ present: PlacedCode...) -> UInt64 {
        var last = numbers
        layers.place(present) {
            last += 1
            return last
        }
        numbers = last
        return layers.reading
    }

    private func inode(_ address: UInt64, _ moment: CodeMoment) -> UInt64? { layers.code(at: moment).code(at: address)?.mapping.inode }

    @Test mutating func addressesHaveTheCodeOfTheirTime() {
        let first = place(Self.code(0x1000, 0x2000, inode: 1), Self.code(0x5000, 0x6000, inode: 9))
        let second = place(Self.code(0x1000, 0x2000, inode: 2), Self.code(0x5000, 0x6000, inode: 9))
        #expect(inode(0x1800, .at(first)) == 1 && inode(0x1800, .at(second)) == 2 && inode(0x1800, .latest) == 2)
        #expect(inode(0x5800, .at(first)) == 9 && inode(0x5800, .at(second)) == 9)
        #expect(layers.layer(at: .at(first)) != layers.layer(at: .at(second)))
        // Before the first reading, and what was mapped behind one.
        #expect(inode(0x1800, .at(0)) == 1 && inode(0x1800, .after(0)) == 1)
        #expect(inode(0x1800, .after(first)) == 2 && inode(0x1800, .after(second)) == 2)
    }

    @Test mutating func codeThatComesBackGoesOnInItsLayer() {
        let first = place(Self.code(0x1000, 0x2000, inode: 1)), layer = layers.layer(at: .latest)
        let second = place(Self.code(0x1000, 0x3000, inode: 2))
        let third = place(Self.code(0x1000, 0x2000, inode: 1))
        #expect(layers.layer(at: .latest) == layer && layers.layer(at: .at(second)) != layer)
        #expect(first < second && second < third)
        #expect(inode(0x1800, .after(first)) == 2 && inode(0x1800, .after(second)) == 1)
    }

    @Test mutating func codeWhereThereWasNoneBeginsNoLayer() {
        let first = place(Self.code(0x1000, 0x2000, inode: 1)), layer = layers.layer(at: .latest)
        let second = place(Self.code(0x1000, 0x2000, inode: 1), Self.code(0x3000, 0x4000, inode: 2))
        #expect(layers.layer(at: .latest) == layer)
        #expect(inode(0x3800, .at(first)) == 2, "found in the layer, whenever it was sampled")
        // Unloaded code keeps its name, and nothing new is no reading.
        let third = place(Self.code(0x3000, 0x4000, inode: 2)), fourth = place(Self.code(0x3000, 0x4000, inode: 2))
        #expect(inode(0x1800, .latest) == 1 && layers.layer(at: .latest) == layer)
        #expect(third == second && fourth == second)
    }

    @Test mutating func partsOfTheSameCodeAgree() {
        _ = place(Self.code(0x1000, 0x3000, inode: 1))
        let layer = layers.layer(at: .latest)
        _ = place(Self.code(0x2000, 0x3000, inode: 1, offset: 0x1000))
        #expect(layers.layer(at: .latest) == layer)
        _ = place(Self.code(0x2000, 0x3000, inode: 1, offset: 0x5000))
        #expect(layers.layer(at: .latest) != layer, "another part of the file")
        // Compilers say themselves what lies where in memory without a file.
        var generated = CodeLayersTests()
        _ = generated.place(Self.code(0x1000, 0x3000, inode: 0))
        let memory = generated.layers.layer(at: .latest)
        _ = generated.place(Self.code(0x2000, 0x5000, inode: 0))
        #expect(generated.layers.layer(at: .latest) == memory)
    }

    @Test(.enabled(if: Tools.compiler, "needs cc (build-essential)"))
    func aLibraryThatWasReplacedOnDiskIsOpenedAsItIsMapped() throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let path = try workshop.compile("int here(int x) { return x * 3; }", to: "replaced.so", ["-shared", "-fPIC"])
        let library = try #require(dlopen(path, RTLD_NOW))
        defer { dlclose(library) }
        func opens() throws -> String { try #require(openableCodeFiles(ofProcess: getpid()).first { $0.path.contains("replaced.so") }).opens }
        #expect(try opens().hasSuffix("/root" + path))
        var mapped = stat(), opened = stat()
        #expect(stat(path, &mapped) == 0)
        let other = try workshop.compile("int there(int x) { return x * 5; }", to: "other.so", ["-shared", "-fPIC"])
        #expect(rename(other, path) == 0)
        #expect(stat(try opens(), &opened) == 0 && opened.st_ino == mapped.st_ino)
    }
}
