import KilnSymbols
import Testing

@Suite struct FoldedFrameTests {
    @Test func userAndKernelFunctionsDifferByTheirSuffix() {
        let symbol = Symbol.function(name: "read", module: "libc.so.6", offset: 4)
        #expect(symbol.foldedFrame(in: .user) == "read")
        #expect(symbol.foldedFrame(in: .kernel) == "read_[k]")
    }

    @Test func withoutANameTheModuleAndTheHexadecimalOffsetStandForIt() {
        let symbol = Symbol.module(name: "redis-server", offset: 0x1234, reason: .noSymbolTable)
        #expect(symbol.foldedFrame(in: .user) == "redis-server+0x1234")
    }

    @Test func inlinedAndGeneratedFunctionsHaveTheirSuffixes() {
        #expect(Symbol.inlined(name: "dictFind", module: "redis-server").foldedFrame(in: .user) == "dictFind_[i]")
        #expect(Symbol.generated(name: "LazyCompile:~a b.js", offset: 1).foldedFrame(in: .user) == "LazyCompile:~a b.js_[j]")
    }

    @Test func placesStandBehindNames() {
        let place = SourcePlace(file: "/src/t_string.c", line: 12)
        #expect(Symbol.function(name: "read", module: "m", offset: 0).foldedFrame(in: .user, at: place) == "read (t_string.c:12)")
        #expect(Symbol.inlined(name: "dictFind", module: "m").foldedFrame(in: .user, at: place) == "dictFind (t_string.c:12)_[i]")
        let hostile = SourcePlace(file: "a;b\u{1b}[0m", line: 1)
        #expect(Symbol.function(name: "f", module: "m", offset: 0).foldedFrame(in: .user, at: hostile) == "f (a:b\\x1b[0m:1)")
    }

    @Test func namesAreAsInTheirSourceUnlessTheyAreToStayAsTheyAre() {
        let symbol = Symbol.function(name: "_ZN3app4workEi", module: "app", offset: 0)
        #expect(symbol.foldedFrame(in: .user) == "app::work")
        #expect(symbol.foldedFrame(in: .user, demangling: false) == "_ZN3app4workEi")
        #expect(Symbol.inlined(name: "_ZN3app4workEi", module: "app").foldedFrame(in: .user) == "app::work_[i]")
    }

    @Test func onlyWithoutAModuleAFrameIsUnknown() {
        let symbol = Symbol.unknown(address: 0x1234, reason: .noMapping)
        #expect(symbol.foldedFrame(in: .user) == "[unknown]")
        #expect(symbol.foldedFrame(in: .kernel) == "[unknown]_[k]")
    }

    @Test(arguments: [
        ("operator new(unsigned long)", "operator new(unsigned long)"), ("a;b", "a:b"), ("a\nb\r\u{1b}[0m", "a\\nb\\r\\x1b[0m"),
        ("größer", "größer"), ("a\u{85}b\u{2028}c", "a\\u{85}b\\u{2028}c"), ("tab\tname\u{7f}", "tab\\tname\\x7f"),
        ("\u{202e}evil", "\\u{202e}evil"), ("", "[unnamed]"),
    ])
    func whatWouldBreakAFoldedLineIsShown(name: String, written: String) {
        #expect(Symbol.function(name: name, module: "m", offset: 0).foldedFrame(in: .user) == written)
        #expect(Symbol.module(name: name, offset: 1, reason: .noSymbolTable).foldedFrame(in: .user) == written + "+0x1")
    }

    /// A stack ends in a blank and its weight, and one that ends in two numbers is of two profiles.
    @Test(arguments: [("worker 12", "worker_12"), ("a 1 2", "a 1_2"), ("a 1.5", "a_1.5"), ("a12", "a12"), ("12", "12"), ("read ", "read ")])
    func noNameEndsInABlankAndANumber(name: String, written: String) {
        #expect(foldedSafe(name) == written)
    }

    @Test func aReturnAddressIsLookedUpInsideTheCallAndAnInstructionPointerWhereItIs() {
        #expect(FrameAddress.returnAddress(0x1000).lookupAddress == 0xfff)
        #expect(FrameAddress.instructionPointer(0x1000).lookupAddress == 0x1000)
        #expect(FrameAddress.returnAddress(0).lookupAddress == 0)
        #expect(FrameAddress.returnAddress(0x1000).address == 0x1000)
    }
}
