import Foundation
@testable import KilnSymbols
import SystemPackage
import Testing

/// A library that was compiled with debugging information and then stripped, with the debug file beside it, in a directory
/// that stands for the root of a process's tree of files.
struct StrippedLibrary {
    static let source = """
        #define KEPT __attribute__((noinline, used))
        KEPT static int hidden_one(int x) { return x * 3 + 1; }
        KEPT static int hidden_two(int x) { return hidden_one(x) / 7; }
        int exported(int x) { return hidden_two(x) + 2; }
        """
    /// Inside the tree.
    static let path = "/opt/app/library.so"

    let workshop: Workshop
    /// All functions of the library before it was stripped.
    let functions: [ListedSymbol]
    let buildID: String
    /// The debug file, outside the tree.
    let debugFile: String

    init(_ source: String = Self.source, extension suffix: String = "c", _ options: [String] = [], buildID: String = "00112233445566778899aabbccddeeff") throws
    {
        workshop = try Workshop()
        self.buildID = buildID
        let whole = try workshop.compile(
            source, to: "whole.so", extension: suffix, ["-shared", "-fPIC", "-g", "-nostdlib", "-Wl,--build-id=0x\(buildID)"] + options)
        functions = try listedSymbols(of: whole, dynamic: false).filter { $0.isFunction && $0.size > 0 }
        debugFile = workshop.path("library.debug")
        try run("objcopy", ["--only-keep-debug", whole, debugFile])
        try makeDirectory(for: Self.path)
        try run("strip", ["-o", inTree(Self.path), whole])
    }

    func remove() { workshop.remove() }

    var tree: String { workshop.path("tree") }
    func inTree(_ path: String) -> String { tree + path }
    var buildIDPath: String { "/usr/lib/debug/.build-id/\(buildID.prefix(2))/\(buildID.dropFirst(2)).debug" }

    func makeDirectory(for path: String) throws {
        try FileManager.default.createDirectory(
            atPath: URL(fileURLWithPath: inTree(path)).deletingLastPathComponent().path, withIntermediateDirectories: true)
    }

    /// Puts the debug file (or another one) to a place in the tree.
    func install(_ file: String? = nil, at path: String) throws {
        try makeDirectory(for: path)
        try FileManager.default.copyItem(atPath: file ?? debugFile, toPath: inTree(path))
    }

    /// Writes the name and checksum of the debug file into the library.
    func link() throws { try run("objcopy", ["--add-gnu-debuglink=\(debugFile)", inTree(Self.path)]) }

    /// As kiln reads the library of a process whose tree this is.
    func table(host: String? = nil, servers: DebugFileServers? = nil) throws -> SymbolTable {
        let search = DebugFileSearch(process: try fileTree(tree), host: try host.map(fileTree), servers: servers)
        let file = try FileDescriptor.open(FilePath(inTree(Self.path)), .readOnly, options: .closeOnExec)
        return try file.closeAfter {
            let elf = try ElfFile(reading: file, named: Self.path)
            return try SymbolTable(elf, debugFile: search.debugFile(of: elf, at: Self.path), fetched: search.fetchedDebugFile(of: elf))
        }
    }

    /// Whether a table knows every function by its name, from its first to its last byte.
    func isWhole(_ table: SymbolTable) -> Bool {
        functions.count >= 3
            && functions.allSatisfy { function in
                [function.address, function.address + function.size - 1].allSatisfy {
                    table.function(at: $0) == .init(name: function.name, start: function.address)
                }
            }
    }
}

func fileTree(_ path: String) throws -> FileTree {
    try FileTree(at: FileDescriptor(rawValue: AT_FDCWD), path, named: path)
}
