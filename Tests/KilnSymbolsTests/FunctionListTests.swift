import Foundation
import KilnSymbols
import TestSupport
import Testing

/// Every function of a file, and what keeps a probe from it.
@Suite(.enabled(if: Tools.compiler && Tools.binutils, "needs cc and binutils (build-essential)"))
struct FunctionListTests {
    private static let program = #"""
        #include <stdio.h>
        #include <stdlib.h>
        __attribute__((noinline)) int first(int x) { return printf("%d\n", x); }
        int second(int x) __attribute__((alias("first")));
        static __attribute__((noinline)) int hidden(int x) { return first(x) + 1; }
        static void *choose(void) { return first; }
        int chosen(int x) __attribute__((ifunc("choose")));
        __attribute__((cold, noinline)) void rare(int *many) { many[1] = puts("rare"); }
        __attribute__((noinline)) int splits(int x) { int many[100]; if (x > 5) { rare(many); rare(many + 1); } many[x] = first(x); return many[x / 2]; }
        void locks(int *); void brief(void); void unsized(void);
        __asm__(".text\n.globl locks\n.type locks, @function\nlocks: lock incl (%rdi)\ninside: ret\n.size locks, .-locks\n"
            ".globl brief\n.type brief, @function\nbrief: movl $1, %eax\n.size brief, 2\nret\n"
            ".globl unsized\nunsized: ret\n");
        int main(int count, char **arguments) { int x = count; locks(&x); unsized(); return hidden(x) + chosen(x) + splits(x); }
        """#

    private func compiled(_ workshop: Workshop) throws -> String {
        try workshop.compile(Self.program, to: "program", ["-O2", "-fno-inline", "-fno-ipa-cp"])
    }

    private func function(_ name: String, of list: FunctionList) throws -> FunctionList.Function {
        let found = list.select(try FunctionPatterns([name])).functions
        try #require(found.count == 1, "\(name): \(found)")
        return found[0]
    }

    @Test func functionsHaveTheirNamesPlacesAndObstacles() throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let path = try compiled(workshop), list = try FunctionList(of: path)
        let symbols = try listedSymbols(of: path, dynamic: false)
        for name in ["first", "hidden", "main", "locks"] {
            let found = try function(name, of: list), symbol = try #require(symbols.first { $0.name == name })
            #expect(found.address == symbol.address && found.size == symbol.size && found.source == .symbolTable)
            #expect(found.obstacle == (name == "locks" ? .refused(.prefix(0xf0)) : nil))
        }
        // One place with two names: the pattern chooses which one is shown.
        #expect(try function("second", of: list).name == "second")
        #expect(try function("second", of: list).names == ["first", "second"])
        #expect(try function("first", of: list).name == "first")
        #expect(try function("chosen", of: list).obstacle == .indirect)
        #expect(try function("brief", of: list).obstacle == .tooShort(size: 2))
        #expect(try function("unsized", of: list).size == nil)
        #expect(try function("unsized", of: list).obstacle == nil)
        #expect(try function("splits.cold", of: list).obstacle == .part)
        #expect(try function("printf@plt", of: list).obstacle == .linkageStub)
        #expect(list.select(try FunctionPatterns(["inside"])).unmatched == ["inside"])
        #expect(!list.isGo && list.problem == nil)
    }

    @Test func aStrippedProgramHasTheSameFunctionsByCallFrameInformation() throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let path = try compiled(workshop), stripped = workshop.path("stripped")
        try run("strip", ["-o", stripped, path])
        let whole = try FunctionList(of: path), list = try FunctionList(of: stripped)
        for name in ["first", "hidden", "main", "splits"] {
            let known = try function(name, of: whole)
            let found = try function("stripped+0x\(String(known.address, radix: 16))", of: list)
            #expect(found.address == known.address && found.offset == known.offset && found.size == known.size)
            #expect(found.source == .callFrames && found.obstacle == known.obstacle)
        }
        let part = try function("splits.cold", of: whole)
        #expect(try function("stripped+0x\(String(part.address, radix: 16))", of: list).obstacle == .part)
    }

    @Test func namesOfPlusPlusAreMeantWithAndWithoutParameters() throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let source = """
            namespace shapes {
            struct Box { int side; int area(int times); double area(double times); int operator*(int by) { return side * by; } };
            __attribute__((noinline)) int Box::area(int times) { return side * times; }
            __attribute__((noinline)) double Box::area(double times) { return side * times; }
            template <class T> __attribute__((noinline)) T twice(T x) { return x + x; }
            template int twice<int>(int);
            }
            int main() { shapes::Box box{3}; return box.area(2) + (int)box.area(2.0) + shapes::twice(1); }
            """
        let path = try workshop.compile(source, to: "program", extension: "cc", ["-lstdc++"]), list = try FunctionList(of: path)
        func names(_ patterns: [String], excluding: [String] = [], isRegex: Bool = false) throws -> [String] {
            list.select(try FunctionPatterns(patterns, excluding: excluding, isRegex: isRegex)).functions.map(\.signature).sorted()
        }
        let areas = ["shapes::Box::area(double)", "shapes::Box::area(int)"]
        #expect(try names(["shapes::Box::*"]) == areas)
        #expect(try names(["shapes::Box::area"]) == areas)
        #expect(try names(["*area(int)"]) == [areas[1]])
        #expect(try names(["_ZN6shapes3Box4areaEi"]) == [areas[1]])
        #expect(try names(["shapes::*"], excluding: ["*(double)", "*twice*"]) == [areas[1]])
        #expect(try names(["^shapes::(Box::area|twice)"], isRegex: true) == areas + ["shapes::twice<int>(int)"])
        #expect(try names(["area\\(int\\)$"], isRegex: true) == [areas[1]])
        #expect(try names(["shapes::twice<int>(int)"]) == ["shapes::twice<int>(int)"])
    }

    @Test(.enabled(if: Tools.go, "needs go (golang-go)")) func aStrippedGoProgramNamesItsFunctions() throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let whole = try FunctionList(of: try GoFunctionTableTests.compile(workshop, to: "program"))
        let list = try FunctionList(of: try GoFunctionTableTests.compile(workshop, to: "stripped", ["-ldflags=-s -w"]))
        #expect(whole.isGo && list.isGo)
        for name in ["main.main", "runtime.mallocgc", "fmt.Fprintln"] {
            let found = try function(name, of: list), known = try function(name, of: whole)
            #expect(found.address == known.address && found.offset == known.offset && found.source == .goTable && found.obstacle == nil)
        }
    }

    @Test func damagedFilesGiveFunctionsOrAnError() throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let path = try compiled(workshop), original = Array(try Data(contentsOf: URL(fileURLWithPath: path)))
        var random = SeededGenerator(seed: 2311), found = 0
        for _ in 0..<400 {
            var damaged = original
            for _ in 0..<Int.random(in: 1...8, using: &random) {
                let place = Bool.random(using: &random) ? Int.random(in: 0..<1024, using: &random) : Int.random(in: 0..<original.count, using: &random)
                damaged[place] = [0, 1, 0x7f, 0xff, UInt8.random(in: 0...255, using: &random)].randomElement(using: &random) ?? 0
            }
            if Bool.random(using: &random) { damaged.removeLast(Int.random(in: 0..<damaged.count / 2, using: &random)) }
            try Data(damaged).write(to: URL(fileURLWithPath: path))
            guard let list = try? FunctionList(of: path) else { continue }
            for function in list.select(try FunctionPatterns()).functions {
                found += 1
                _ = try? list.returnPlaces(of: function)
            }
        }
        #expect(found > 0)
    }
}

/// Patterns for names.
struct FunctionPatternTests {
    @Test(
        arguments: [
            ("*", "anything", true), ("get*", "getCommand", true), ("get*", "forget", false), ("*Command", "getCommand", true), ("g?t", "get", true),
            ("g?t", "gt", false), ("ä?ö", "äüö", true), ("[a-c]x", "bx", true), ("[!a-c]x", "bx", false), ("[]]x", "]x", true), ("[a-]x", "-x", true),
            ("a\\*b", "a*b", true), ("a\\*b", "axb", false), ("*a*b*", "xxaxxbxx", true), ("*a*b", "xxaxxbxx", false), ("operator[]", "operator[]", true),
            ("[a", "[a", true), ("[a*", "[ab", true),
            ("", "x", false),
        ] as [(String, String, Bool)])
    func aPatternMatchesWholeNames(pattern: String, name: String, isMatch: Bool) throws {
        if pattern.isEmpty {
            #expect(throws: FunctionPatternError.self) { try FunctionPatterns([pattern]) }
            return
        }
        var matched: Set<Int> = []
        #expect((try FunctionPatterns([pattern]).choose([name], matched: &matched) != nil) == isMatch)
    }

    @Test func patternsThatMeanNothingAreRefused() {
        for (pattern, isRegex) in [("a\\", false), ("(", true), ("(a)\\1", true), ("(a{200}){200}", true), ("*{9999999999}", true)] {
            #expect(throws: FunctionPatternError.self, "\(pattern)") { try FunctionPatterns([pattern], isRegex: isRegex) }
        }
    }

    /// These take other matchers ages.
    @Test func hostilePatternsAreQuick() throws {
        let name = String(repeating: "a", count: 4000), began = cpuTime()
        for (pattern, isRegex) in [(String(repeating: "*a", count: 500) + "*b", false), ("(a+)+b", true), ("(a|aa)*b", true), ("(.*)(.*)(.*)(.*)(.*)b", true)] {
            var matched: Set<Int> = []
            #expect(try FunctionPatterns([pattern], isRegex: isRegex).choose([name], matched: &matched) == nil)
        }
        #expect(cpuTime() - began < .seconds(5))
    }

    /// Of this thread.
    private func cpuTime() -> Duration {
        var now = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now)
        return .seconds(now.tv_sec) + .nanoseconds(now.tv_nsec)
    }
}
