import Foundation
@testable import KilnSymbols
import SystemPackage
import TestSupport
import Testing

/// Inlined functions of files compiled here and now, against what addr2line says of every address.
@Suite(.enabled(if: Tools.compiler && Tools.binutils && Tools.addr2line, "needs cc, nm and addr2line (build-essential)"))
struct InlinedFunctionTests {
    /// What each function does on its own can't be moved into another one.
    static let chain = """
        #define INLINED static inline __attribute__((always_inline))
        volatile int sink;
        INLINED int innermost(int x) { sink = x + 1; for (int i = 0; i < x; i++) sink = x * 31 + i; return sink; }
        INLINED int middle(int x) { sink = x * 3; int y = innermost(x + 2); sink = y * 5; return y ^ 5; }
        INLINED int outermost(int x) { sink = x * 7; int y = middle(x); sink = y * 9; return y + 1; }
        __attribute__((noinline)) int physical(int x) { sink = 11; return outermost(x) / 3 + innermost(x + 1); }
        int other(int x) { return physical(x) + middle(x); }
        """
    static let classes = """
        namespace store {
        struct Table {
            int value;
            template <typename T> __attribute__((always_inline)) int scaled(T factor) { return value * int(factor) + 1; }
            __attribute__((always_inline)) inline int twice() { return scaled<double>(2.0) + scaled<int>(value); }
        };
        __attribute__((noinline)) int use(Table *table) { return table->twice() * 7; }
        }
        """

    static func inlined(_ path: String, shared: String? = nil, lines: Bool = true) throws -> InlinedFunctions? {
        func open(_ path: String) throws -> DebugFile {
            let file = try OpenFile(at: FileDescriptor(rawValue: AT_FDCWD), path)
            return try DebugFile(file, at: path, named: path)
        }
        let search = DebugFileSearch(process: nil, host: try FileTree.host()), sharedFile = try shared.map(open)
        return try InlinedFunctions(try open(path), shared: sharedFile, split: SplitFiles(search, of: [path]), lines: lines)
    }

    /// Compares every second address of the functions with addr2line, `lines` also places; returns the longest chain and how many were compared.
    static func compare(
        _ inlined: InlinedFunctions, with path: String, functions: [ListedSymbol], lines comparesLines: Bool = true,
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws -> (longest: Int, addresses: Int) {
        let addresses = functions.flatMap { Array(stride(from: $0.address, to: $0.address + $0.size, by: 2)) }
        var text = ""
        for start in stride(from: 0, to: addresses.count, by: 1000) {
            let batch = addresses[start..<min(start + 1000, addresses.count)].map { "0x" + String($0, radix: 16) }
            text += try run("addr2line", ["-a", "-i", "-f", "-e", path] + batch)
        }
        // For each address a line that repeats it, then two lines a function, the innermost first.
        var expected: [UInt64: [String]] = [:], lines: [UInt64: [String]] = [:]
        var address: UInt64 = 0
        var isName = true
        for line in text.split(separator: "\n") {
            if line.hasPrefix("0x") {
                address = try #require(UInt64(line.dropFirst(2), radix: 16))
                expected[address] = []
                lines[address] = []
                isName = true
            } else {
                if isName {
                    expected[address]?.insert(String(line), at: 0)
                } else {
                    // /folder/file.c:12 (discriminator 3)
                    let place = line.split(separator: " ")[0].split(separator: "/").last.map(String.init) ?? ""
                    lines[address]?.insert(place, at: 0)
                }
                isName.toggle()
            }
        }
        var longest = 0, sameLines = 0
        for address in addresses {
            let chain = try #require(expected[address])
            // The first one is the function itself.
            #expect(inlined.names(at: address) == Array(chain.dropFirst()), "at \(String(address, radix: 16))", sourceLocation: sourceLocation)
            longest = max(longest, chain.count - 1)
            // addr2line writes ? or 0 where it knows no line.
            let places = inlined.frames(at: address)?.places.map { $0?.text ?? "?" },
                known = lines[address]?.map { $0.hasSuffix(":?") || $0.hasSuffix(":0") ? "?" : $0 }
            if places == known { sameLines += 1 }
        }
        if !comparesLines { return (longest, addresses.count) }
        #expect(sameLines >= addresses.count * 99 / 100, "\(sameLines) of \(addresses.count) have the lines of addr2line", sourceLocation: sourceLocation)
        return (longest, addresses.count)
    }

    @Test(arguments: [["-O2"], ["-O2", "-gdwarf-4"], ["-O2", "-gz"], ["-O2", "-ffunction-sections", "-Wl,--gc-sections"], ["-O1", "-gdwarf-3"]])
    func aChainOfThreeIsWhatAddr2lineSays(options: [String]) throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let path = try workshop.compile(Self.chain, to: "chain.so", ["-shared", "-fPIC", "-g", "-nostdlib"] + options)
        let functions = try listedSymbols(of: path, dynamic: false).filter { $0.isFunction && $0.size > 0 }
        let inlined = try #require(try Self.inlined(path))
        let (longest, addresses) = try Self.compare(inlined, with: path, functions: functions)
        #expect(longest == 3)
        #expect(addresses > 30)
        #expect(inlined.names(at: 0) == [] && inlined.names(at: .max) == [])
    }

    @Test func sectionsCompressedByZstdAreRead() throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let plain = try workshop.compile(Self.chain, to: "chain.so", ["-shared", "-fPIC", "-g", "-nostdlib", "-O2"]), path = workshop.path("zstd.so")
        try run("objcopy", ["--compress-debug-sections=zstd", plain, path])
        #expect(try run("readelf", ["-t", path]).contains("ZSTD"))
        let functions = try listedSymbols(of: path, dynamic: false).filter { $0.isFunction && $0.size > 0 }
        let inlined = try #require(try Self.inlined(path))
        // binutils and libdw may be too old to read such sections.
        #expect(try Self.compare(inlined, with: plain, functions: functions, lines: false).longest == 3)
    }

    /// A wrong size, wrong data, and a section cut short.
    @Test func brokenZstdIsAnError() throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let plain = try workshop.compile(Self.chain, to: "chain.so", ["-shared", "-fPIC", "-g", "-nostdlib", "-O2"]), path = workshop.path("zstd.so")
        try run("objcopy", ["--compress-debug-sections=zstd", plain, path])
        let whole = try Data(contentsOf: URL(fileURLWithPath: path))
        let section = try #require(try run("readelf", ["-SW", path]).split(separator: "\n").first { $0.contains(" .debug_info ") })
        // Elf64_Chdr is in front of the frame: type, reserved, size, alignment.
        let frame = try #require(Int(section.split(separator: "]")[1].split(separator: " ")[3], radix: 16)) + 24
        #expect(whole[frame..<frame + 4] == Data([0x28, 0xb5, 0x2f, 0xfd]))
        for damage in [frame - 16, frame - 11, frame, frame + 2, frame + 9] {
            var bytes = whole
            bytes[damage] ^= 0xff
            try bytes.write(to: URL(fileURLWithPath: path))
            #expect(throws: SymbolFileError.self, "+\(damage - frame)") { try Self.inlined(path) }
        }
        // More than is decompressed, before memory is reserved for it.
        var bytes = whole
        bytes[frame - 13] = 0x7f
        try bytes.write(to: URL(fileURLWithPath: path))
        let error = #expect(throws: SymbolFileError.self) { try Self.inlined(path) }
        #expect(error?.description.contains("more than kiln decompresses") == true, "\(String(describing: error))")
        // The symbols are not compressed, and are read all the same.
        #expect(try symbolTable(of: path).functionCount > 1)
    }

    @Test(.enabled(if: Tools.cxx, "needs g++"))
    func membersAndTemplatesHaveTheirScopes() throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let path = try workshop.compile(Self.classes, to: "classes.so", extension: "cc", ["-O2", "-shared", "-fPIC", "-g", "-nostdlib"])
        let use = try #require(try listedSymbols(of: path, dynamic: false).first { $0.name.contains("use") })
        let inlined = try #require(try Self.inlined(path))
        let chains = Set((use.address..<use.address + use.size).map { inlined.names(at: $0).map { demangled($0) ?? $0 } })
        #expect(
            chains.contains(["store::Table::twice", "store::Table::scaled<double>"]) || chains.contains(["store::Table::twice", "store::Table::scaled<int>"]),
            "\(chains)")
    }

    /// gcc puts the code of a lambda into its type, which lies in the function around it.
    @Test(.enabled(if: Tools.cxx, "needs g++"), arguments: ["", "inline "])
    func whatIsInlinedIntoLambdasIsFound(around: String) throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let source = """
            volatile int sink;
            __attribute__((always_inline)) static inline int deepest(int x) { for (int i = 0; i < x; i++) sink = x * 31 + i; return sink; }
            template <typename Call> __attribute__((noinline)) int apply(Call call, int x) { sink = x; return call(x) + call(x + 1); }
            static \(around)int around(int x) { return apply([x](int y) __attribute__((noinline)) { sink = y; return deepest(x + y) * 3; }, x); }
            int physical(int x) { return around(x) + 1; }
            """
        let path = try workshop.compile(source, to: "lambda.so", extension: "cc", ["-O2", "-shared", "-fPIC", "-g", "-nostdlib"])
        // Not against addr2line of binutils, which calls what is inlined without a linkage name by the surrounding function's.
        let lambda = try #require(try listedSymbols(of: path, dynamic: false).first { $0.name.hasPrefix("_ZZ") && $0.name.contains("_clE") })
        let inlined = try #require(try Self.inlined(path))
        #expect((lambda.address..<lambda.address + lambda.size).contains { inlined.names(at: $0) == ["deepest"] })
    }

    @Test func aDebugFileTellsOfAStrippedLibrary() throws {
        let library = try StrippedLibrary(Self.chain, ["-O2"])
        defer { library.remove() }
        let inlined = try #require(try Self.inlined(library.debugFile))
        #expect(try Self.compare(inlined, with: library.workshop.path("whole.so"), functions: library.functions).longest == 3)
        #expect(try Self.inlined(library.inTree(StrippedLibrary.path)) == nil)
    }

    @Test(.enabled(if: Tools.has("dwz"), "needs dwz"))
    func whatTwoFilesShareIsReadFromTheThird() throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let paths = [try workshop.compile(Self.chain, to: "one.so", ["-O2", "-shared", "-fPIC", "-g", "-nostdlib", "-gdwarf-4"]), workshop.path("two.so")]
        let original = workshop.path("original.so")
        for copy in [paths[1], original] { try FileManager.default.copyItem(atPath: paths[0], toPath: copy) }
        let common = workshop.path("common")
        try run("dwz", ["-m", common, "-M", common] + paths)
        let functions = try listedSymbols(of: paths[0], dynamic: false).filter { $0.isFunction && $0.size > 0 }
        let inlined = try #require(try Self.inlined(paths[0], shared: common))
        #expect(try Self.inlined(paths[0])?.names(at: functions[0].address).contains("innermost") != true, "nothing was shared")
        #expect(try Self.compare(inlined, with: original, functions: functions).longest == 3)
    }

    static let clang = Tools.has("clang")
    static let rustc = Tools.has("rustc")

    /// clang writes no .debug_aranges. Of its DWARF 5 addr2line (binutils 2.40) doesn't find all that is inlined.
    @Test(.enabled(if: clang, "needs clang in PATH"), arguments: ["-gdwarf-4", "-gdwarf-5"])
    func filesOfClangHaveNoIndexAndNeedNone(version: String) throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let source = workshop.path("chain.c"), path = workshop.path("chain.so")
        try Self.chain.write(toFile: source, atomically: true, encoding: .utf8)
        try run("clang", ["-O2", "-g", version, "-shared", "-fPIC", "-nostdlib", "-o", path, source])
        let functions = try listedSymbols(of: path, dynamic: false).filter { $0.isFunction && $0.size > 0 }
        let inlined = try #require(try Self.inlined(path))
        if version == "-gdwarf-4" { #expect(try Self.compare(inlined, with: path, functions: functions).longest == 3) }
        let chains = Set(functions.flatMap { function in (function.address..<function.address + function.size).map(inlined.names) })
        #expect(
            chains.isSuperset(of: [["outermost", "middle", "innermost"], ["outermost", "middle"], ["outermost"], ["innermost"], ["middle", "innermost"]]),
            "\(chains)")
    }

    @Test(.enabled(if: rustc, "needs rustc"))
    func inlinedFunctionsOfRustAreFoundAndNamed() throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let source = workshop.path("fixture.rs"), path = workshop.path("fixture.so")
        try """
        pub mod store {
            pub struct Table { pub value: u64 }
            impl Table { #[inline(always)] pub fn twice(&self) -> u64 { self.value.wrapping_mul(self.value ^ 77) } }
        }
        #[no_mangle] #[inline(never)] pub extern "C" fn physical(x: u64) -> u64 { store::Table { value: x }.twice() / 3 }
        """.write(toFile: source, atomically: true, encoding: .utf8)
        try run("rustc", ["-O", "-g", "--crate-type=cdylib", "-o", path, source])
        let physical = try #require(try listedSymbols(of: path, dynamic: false).first { $0.name == "physical" })
        let inlined = try #require(try Self.inlined(path))
        let chains = Set((physical.address..<physical.address + physical.size).map { inlined.names(at: $0).map { demangled($0) ?? $0 } })
        #expect(chains.contains { $0.first?.hasSuffix("::Table>::twice") == true || $0.first == "fixture::store::Table::twice" }, "\(chains)")
    }

    @Test func damagedDebuggingInformationGivesNamesOrNone() throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let path = try workshop.compile(Self.chain, to: "chain.so", ["-O2", "-shared", "-fPIC", "-g", "-nostdlib"])
        let functions = try listedSymbols(of: path, dynamic: false).filter { $0.isFunction && $0.size > 0 }
        let sound = try Data(contentsOf: URL(fileURLWithPath: path))
        // Only debugging information: damage to the rest is BrokenFileTests' subject.
        let sections = try run("readelf", ["-SW", path]).split(separator: "\n").filter { $0.contains(" .debug_") }.compactMap { line -> Range<Int>? in
            let fields = line.split(separator: "]")[1].split(separator: " ")
            guard let offset = Int(fields[3], radix: 16), let size = Int(fields[4], radix: 16) else { return nil }
            return offset..<offset + size
        }
        #expect(sections.count >= 5)
        var random = SeededGenerator(seed: 1905)
        var (named, nameless) = (0, 0)
        for _ in 0..<3000 {
            var damaged = sound
            for _ in 0..<Int.random(in: 1...6, using: &random) {
                let section = sections[Int.random(in: 0..<sections.count, using: &random)]
                damaged[Int.random(in: section, using: &random)] =
                    [0, 0x7f, 0xff, UInt8.random(in: 0...255, using: &random)][Int.random(in: 0..<4, using: &random)]
            }
            let copy = workshop.path("damaged.so")
            try damaged.write(to: URL(fileURLWithPath: copy))
            // Lines are read by libdw, which is not what is tested here.
            let inlined = try? Self.inlined(copy, lines: false)
            let names = functions.flatMap { function in
                stride(from: function.address, to: function.address + function.size, by: 8).flatMap { inlined?.names(at: $0) ?? [] }
            }
            if names.isEmpty { nameless += 1 } else { named += 1 }
        }
        #expect(named > 0 && nameless > 0)
    }
}

extension InlinedFunctions {
    /// Only the names.
    func names(at address: UInt64) -> [String] { frames(at: address)?.inlined ?? [] }
}
