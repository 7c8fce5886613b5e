import Foundation
import Testing
@testable import Flamegraph

/// Inlined functions in `perf script` text: those that perf prints, and those that debug information knows.
@Suite struct InlinedFunctionTests {
    /// Knows what it is told by address.
    private final class Resolver: InlineResolver {
        var asked: [CodePlace] = []
        let known: [UInt64: [SourceFunction]]

        init(_ known: [UInt64: [SourceFunction]]) { self.known = known }

        func functions(at place: CodePlace) -> [SourceFunction] {
            asked.append(place)
            return known[place.address] ?? []
        }
    }

    private func lines(_ frames: [String], _ resolver: Resolver?) -> [String] {
        let text = "a 1 1.0: e:\n" + frames.map { "\t  \($0)\n" }.joined()
        var options = CollapseOptions()
        options.marksInlined = true
        return collapse(Array(text.utf8), options, inlines: resolver).lines
    }

    @Test func aRealRecordingHasTheFunctionsThatPerfFound() throws {
        let input = try Data(contentsOf: PerfScriptTests.fixtures.appendingPathComponent("inlined-01.perf"))
        var options = CollapseOptions()
        let start = "spin;_start;__libc_start_main_impl;__libc_start_call_main;main;work;step"
        #expect(collapse(Array(input), options).lines == ["\(start) 90909090", "\(start);mix 30303030"])
        options.marksInlined = true
        let marked = "spin;_start;__libc_start_main_impl_[i];__libc_start_call_main;main;work;step_[i]"
        #expect(collapse(Array(input), options).lines == ["\(marked) 90909090", "\(marked);mix_[i] 30303030"])
    }

    @Test func eachPlaceIsAskedForOnce() {
        let resolver = Resolver([0x1f: [SourceFunction(name: "outer(int)"), SourceFunction(name: "inner", line: "a;.c:7")]])
        let text = PerfScriptTests.sample("a 1 1.0: e:", "1f f+0x2 (/bin/a)", "ff k ([kernel.kallsyms])") + "\n"
        #expect(collapse(Array((text + text).utf8), inlines: resolver).lines == ["a;k;outer;inner:a:.c:7_[i] 2"])
        #expect(resolver.asked == [CodePlace(address: 0x1f, symbol: "f", offset: 2, module: "/bin/a")])
    }

    @Test func callersAreAskedForByTheirCall() {
        let resolver = Resolver([:])
        #expect(lines(["ff k ([kernel.kallsyms])", "1f f (/bin/a)", "2F g+0x10 (/bin/a)", "3f h+0x0 (/bin/a)"], resolver) == ["a;h;g;f;k 1"])
        #expect(
            resolver.asked == [
                CodePlace(address: 0x1f, symbol: "f", offset: nil, module: "/bin/a"),
                CodePlace(address: 0x2e, symbol: "g", offset: 0xf, module: "/bin/a"),
                CodePlace(address: 0x3e, symbol: "h", offset: 0, module: "/bin/a"),
            ])
    }

    @Test func noFunctionStandsTwiceThatPerfAndDebugInformationKnow() {
        let frames = ["1f in2+0x5 (inlined)", "1f in1+0x5 (inlined)", "1f f+0x5 (/bin/a)", "9f other (inlined)", "2f g (/bin/a)"]
        let resolver = Resolver([0x1f: [.init(name: "f"), .init(name: "in1"), .init(name: "in2")], 0x2e: [.init(name: "g")]])
        #expect(lines(frames, resolver) == ["a;g;other_[i];f;in1_[i];in2_[i] 1"])
        #expect(lines(frames, Resolver([:])) == ["a;g;other_[i];f;in1_[i];in2_[i] 1"])
        #expect(lines(frames, nil) == ["a;g;other_[i];f;in1_[i];in2_[i] 1"])
    }

    @Test func codeWithoutAFileOrASymbolIsNotAskedFor() {
        let resolver = Resolver([:])
        _ = lines(["1 [unknown] (/bin/a)", "2 f ([unknown])", "3 f (/tmp/perf-7.map)", "4 k ([nf_tables])"], resolver)
        #expect(resolver.asked.isEmpty)
    }
}
