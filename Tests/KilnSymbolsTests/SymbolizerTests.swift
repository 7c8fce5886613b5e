import Foundation
import KilnSymbols
import Testing

/// A compiled program that prints the address of one of its functions and waits to be killed.
private final class RunningFixture {
    let function: UInt64
    private let child: Child
    private var isRunning = true
    var pid: Int32 { child.pid }

    static let source = """
        #include <stdio.h>
        #include <unistd.h>
        __attribute__((noinline, used)) static int beacon(int x) { return x * 3 + 1; }
        int main(void) { printf("%lx\\n", (unsigned long)beacon); fflush(stdout); pause(); return 0; }
        """

    convenience init(_ command: String...) throws { try self.init(command) }

    init(_ command: [String]) throws {
        child = try Child(command)
        let line = try child.read { $0.hasSuffix("\n") }
        function = try #require(UInt64(line.dropLast(), radix: 16))
    }

    /// Kills it and waits until it is gone.
    func stop() {
        guard isRunning else { return }
        isRunning = false
        kill(pid, SIGKILL)
        child.wait()
    }
}

/// What the dynamic loader says of an address. dladdr is a GNU extension that the Glibc module leaves out.
private struct LoaderAnswer {
    let file: String
    let start: UInt64

    init?(at address: UnsafeMutableRawPointer) {
        // Dl_info of dlfcn.h: file name, file base, symbol name, symbol address.
        typealias Info = (UnsafePointer<CChar>?, UnsafeRawPointer?, UnsafePointer<CChar>?, UnsafeRawPointer?)
        typealias Dladdr = @convention(c) (UnsafeRawPointer, UnsafeMutableRawPointer) -> Int32
        guard let entry = dlsym(nil, "dladdr") else { return nil }
        var info: Info = (nil, nil, nil, nil)
        let found = withUnsafeMutablePointer(to: &info) { unsafeBitCast(entry, to: Dladdr.self)(address, $0) }
        guard found != 0, let name = info.0, let symbol = info.3 else { return nil }
        file = String(cString: name)
        start = UInt64(UInt(bitPattern: symbol))
    }
}

@Suite struct SymbolizerTests {
    /// What was mapped before has no names then, rather than those of the new contents.
    @Test(.enabled(if: Tools.compiler, "needs cc")) func aFileThatIsOverwrittenInPlaceHasNoNames() throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let path = try workshop.compile("int first(int x) { return x * 3; } int more(int x) { return x; }", to: "a.so", ["-shared", "-fPIC", "-nostdlib"])
        let other = try workshop.compile("int second(int x) { return x * 5 + 1; }", to: "b.so", ["-shared", "-fPIC", "-nostdlib"])
        let library = try #require(dlopen(path, RTLD_NOW)), address = UInt64(UInt(bitPattern: try #require(dlsym(library, "first"))))
        defer { dlclose(library) }
        func name(_ symbolizer: Symbolizer) -> String { symbolizer.symbolize(.instructionPointer(address)).foldedFrame(in: .user) }
        #expect(name(try Symbolizer(pid: getpid())) == "first")
        let symbolizer = try Symbolizer(pid: getpid())
        let file = try FileHandle(forUpdating: URL(fileURLWithPath: path)), size = try file.seekToEnd()
        // The mapping shows what is written; only the part behind the code is changed, so that the process can go on.
        try file.seek(toOffset: size)
        try file.write(contentsOf: Data(contentsOf: URL(fileURLWithPath: other)))
        try file.close()
        guard case .module(_, _, reason: .unreadable(let error)) = symbolizer.symbolize(.instructionPointer(address)) else {
            Issue.record("\(symbolizer.symbolize(.instructionPointer(address)))")
            return
        }
        #expect(error.problem == .overwritten)
        try symbolizer.refresh()
        #expect(name(symbolizer) == "first")
    }

    @Test func thisProcesssFunctionsAreNamedAsTheLoaderNamesThem() throws {
        let symbolizer = try Symbolizer(pid: getpid())
        var checked = 0
        for name in ["qsort", "getaddrinfo", "malloc", "strtoul", "elf_begin", "gelf_getsym", "swift_retain"] {
            guard let pointer = dlsym(nil, name) else { continue }
            let address = UInt64(UInt(bitPattern: pointer))
            let loader = try #require(LoaderAnswer(at: pointer))
            let symbol = symbolizer.symbolize(.instructionPointer(address))
            guard case .function(let found, let module, let offset) = symbol else {
                Issue.record("\(name): \(symbol)")
                continue
            }
            // An alias may have been preferred: then the loader must know it at the same address.
            #expect(offset == address - loader.start)
            #expect(found == name || dlsym(nil, found) == pointer, "\(found) for \(name)")
            #expect(URL(fileURLWithPath: loader.file).resolvingSymlinksInPath().lastPathComponent == module)
            checked += 1
        }
        #expect(checked >= 4)
    }

    @Test func aReturnAddressBehindTheLastCallBelongsToTheCaller() throws {
        let symbolizer = try Symbolizer(pid: getpid())
        let start = UInt64(UInt(bitPattern: try #require(dlsym(nil, "qsort"))))
        guard case .function(let asInstruction, let module, 0) = symbolizer.symbolize(.instructionPointer(start)) else {
            Issue.record("qsort has no name")
            return
        }
        #expect(symbolizer.symbolize(.returnAddress(start + 1)) == .function(name: asInstruction, module: module, offset: 1))
        let before = symbolizer.symbolize(.returnAddress(start))
        if case .function(asInstruction, _, _) = before { Issue.record("the frame before was given \(before)") }
    }

    @Test func addressesThatBelongToNothingSayWhy() throws {
        let symbolizer = try Symbolizer(pid: getpid())
        for frame in [FrameAddress.instructionPointer(0), .returnAddress(0), .returnAddress(8), .returnAddress(.max)] {
            #expect(symbolizer.symbolize(frame) == .unknown(address: frame.address, reason: .noMapping))
        }
    }

    @Test func theVirtualSharedObjectIsReadOutOfTheProcess() throws {
        let mapped = try run("cat", ["/proc/\(getpid())/maps"])
        let line = try #require(mapped.split(separator: "\n").first { $0.hasSuffix("[vdso]") })
        let start = try #require(UInt64(line.prefix { $0 != "-" }, radix: 16))
        let symbolizer = try Symbolizer(pid: getpid())
        let names = Set(
            (UInt64(0)..<0x2000).compactMap { offset -> String? in
                guard case .function(let name, "[vdso]", _) = symbolizer.symbolize(.instructionPointer(start + offset)) else { return nil }
                return name
            })
        #expect(names.contains { $0.hasSuffix("clock_gettime") }, "\(names)")
    }

    @Test func aPidThatDoesNotExistIsAnError() {
        #expect(throws: SymbolizerError.noSuchProcess(pid: 4_194_305)) { try Symbolizer(pid: 4_194_305) }
    }

    @Test(.enabled(if: Tools.compiler, "needs cc (build-essential)"))
    func aSharedLibraryThatIsLoadedLaterIsNamedAfterARefresh() throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let path = try workshop.compile(
            "int late_arrival(int x) { return x * 3; }", to: "late.so", ["-shared", "-fPIC"])
        let symbolizer = try Symbolizer(pid: getpid())
        let library = try #require(dlopen(path, RTLD_NOW))
        let address = UInt64(UInt(bitPattern: dlsym(library, "late_arrival")))
        #expect(symbolizer.symbolize(.instructionPointer(address)) == .unknown(address: address, reason: .noMapping))
        #expect(try symbolizer.refresh() == .running)
        let named = Symbol.function(name: "late_arrival", module: "late.so", offset: 0)
        #expect(symbolizer.symbolize(.instructionPointer(address)) == named)
        dlclose(library)
        try symbolizer.refresh()
        #expect(symbolizer.symbolize(.instructionPointer(address)) == named, "unloaded code keeps its name")
    }

    @Test func processesThatMapTheSameFilesShareTheirTables() throws {
        let store = SymbolStore()
        let first = try Symbolizer(pid: getpid(), sharing: store)
        let known = store.fileCount
        let second = try Symbolizer(pid: getpid(), sharing: store)
        #expect(known > 2)
        #expect(store.fileCount == known)
        let address = UInt64(UInt(bitPattern: try #require(dlsym(nil, "qsort"))))
        #expect(first.symbolize(.instructionPointer(address)) == second.symbolize(.instructionPointer(address)))
    }
}

/// Other processes than this one.
@Suite(.enabled(if: Tools.compiler && Tools.isRoot, "needs cc (build-essential), and root to look into other processes"))
struct SymbolizerOfOthersTests {
    static let beacon = Symbol.function(name: "beacon", module: "fixture", offset: 2)

    @Test(arguments: [["-pie", "-fPIE"], ["-no-pie"], ["-static"], ["-static-pie", "-fPIE"]])
    func staticFunctionsOfAnotherProcessAreNamed(options: [String]) throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let fixture = try RunningFixture(try workshop.compile(RunningFixture.source, to: "fixture", options))
        defer { fixture.stop() }
        let symbolizer = try Symbolizer(pid: fixture.pid)
        #expect(symbolizer.symbolize(.instructionPointer(fixture.function + 2)) == Self.beacon)
    }

    @Test func aProcessThatHasExitedAndWhoseProgramIsGoneIsStillSymbolized() throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let path = try workshop.compile(RunningFixture.source, to: "fixture")
        let fixture = try RunningFixture(path)
        defer { fixture.stop() }
        let symbolizer = try Symbolizer(pid: fixture.pid)
        #expect(try symbolizer.refresh() == .running)
        fixture.stop()
        try FileManager.default.removeItem(atPath: path)
        #expect(try symbolizer.refresh() == .exited)
        #expect(symbolizer.symbolize(.instructionPointer(fixture.function + 2)) == Self.beacon)
    }

    @Test func aProgramDeletedOrReplacedWhileItRunsIsReadAsItIsMapped() throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let path = try workshop.compile(RunningFixture.source, to: "fixture")
        let fixture = try RunningFixture(path)
        defer { fixture.stop() }
        try FileManager.default.removeItem(atPath: path)
        _ = try workshop.compile("int other_program(void) { return 1; } int main(void) { return other_program(); }", to: "fixture")
        let symbolizer = try Symbolizer(pid: fixture.pid)
        #expect(symbolizer.symbolize(.instructionPointer(fixture.function + 2)) == Self.beacon)
    }

    @Test func allFramesOfAFunctionWithoutASymbolAreTheModuleAndWhereTheFunctionBegins() throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let path = try workshop.compile(RunningFixture.source, to: "fixture")
        let listed = try #require(try listedSymbols(of: path, dynamic: false).first { $0.name == "beacon" })
        try run("strip", [path])
        let fixture = try RunningFixture(path)
        defer { fixture.stop() }
        let symbolizer = try Symbolizer(pid: fixture.pid)
        for frame in [FrameAddress.instructionPointer(fixture.function), .returnAddress(fixture.function + 1), .returnAddress(fixture.function + 5)] {
            let symbol = symbolizer.symbolize(frame)
            guard case .module(let name, let offset, let reason) = symbol else {
                Issue.record("\(symbol)")
                return
            }
            #expect(name == "fixture")
            #expect(offset == listed.address)
            // The start-up code leaves a few linkage stubs, so the table may not be empty.
            #expect(reason == .noSymbolCovers(onlyDynamicSymbols: true) || reason == .noSymbolTable)
            #expect(symbol.foldedFrame(in: .user) == "fixture+0x" + String(listed.address, radix: 16))
        }
    }

    @Test func aFrameOfCodeWithoutSymbolsAndCallFrameInformationIsTheModuleAndItsAddress() throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let path = try workshop.compile(RunningFixture.source, to: "fixture", ["-fno-asynchronous-unwind-tables", "-fno-unwind-tables"])
        let listed = try #require(try listedSymbols(of: path, dynamic: false).first { $0.name == "beacon" })
        try run("strip", [path])
        let fixture = try RunningFixture(path)
        defer { fixture.stop() }
        let symbol = try Symbolizer(pid: fixture.pid).symbolize(.returnAddress(fixture.function + 5))
        #expect(symbol.foldedFrame(in: .user) == "fixture+0x" + String(listed.address + 5, radix: 16))
    }

    @Test func aProgramThatWasExecutedByALinkHasTheNameOfTheLink() throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let path = try workshop.compile(RunningFixture.source, to: "fixture"), link = workshop.path("another-name")
        try run("strip", [path])
        try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: "fixture")
        for (command, name) in [([link], "another-name"), ([path], "fixture"), (["sh", "-c", "cd \(workshop.path("")); exec ./another-name"], "another-name")] {
            let fixture = try RunningFixture(command)
            defer { fixture.stop() }
            let symbol = try Symbolizer(pid: fixture.pid).symbolize(.instructionPointer(fixture.function))
            #expect(symbol.unnamed?.module == name)
        }
    }

    static let canUnshare = Tools.isRoot && (try? run("unshare", ["-m", "true"])) != nil

    @Test(.enabled(if: canUnshare, "needs unshare -m"))
    func aProgramInAnotherMountNamespaceIsRead() throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let path = try workshop.compile(RunningFixture.source, to: "original")
        let inside = workshop.path("mnt")
        try FileManager.default.createDirectory(atPath: inside, withIntermediateDirectories: true)
        let script = "mount -t tmpfs none \(inside) && cp \(path) \(inside)/fixture && exec \(inside)/fixture"
        let fixture = try RunningFixture("unshare", "-m", "sh", "-c", script)
        defer { fixture.stop() }
        #expect(!FileManager.default.fileExists(atPath: inside + "/fixture"))
        let symbolizer = try Symbolizer(pid: fixture.pid)
        #expect(symbolizer.symbolize(.instructionPointer(fixture.function + 2)) == Self.beacon)
    }
}
