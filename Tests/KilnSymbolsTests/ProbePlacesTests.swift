import Foundation
import KilnSymbols
import TestSupport
import Testing

/// Where uprobes are placed.
@Suite(.enabled(if: Tools.compiler, "needs cc (build-essential)"))
struct ProbePlacesTests {
    /// As <sys/sdt.h> writes them: a probe with a semaphore, and one without.
    private static let program = #"""
        unsigned short semaphore __attribute__((section(".probes")));
        #define PROBE(name, counter) __asm__ volatile( \
            "990: nop\n" \
            ".pushsection .note.stapsdt,\"\",\"note\"\n .balign 4\n .4byte 992f-991f, 994f-993f, 3\n" \
            "991: .asciz \"stapsdt\"\n992: .balign 4\n" \
            "993: .8byte 990b, _.stapsdt.base, " counter "\n .asciz \"tests\"\n .asciz \"" name "\"\n .asciz \"\"\n" \
            "994: .balign 4\n .popsection\n" \
            ".ifndef _.stapsdt.base\n .pushsection .stapsdt.base,\"aG\",\"progbits\",.stapsdt.base,comdat\n" \
            " .weak _.stapsdt.base\n .hidden _.stapsdt.base\n_.stapsdt.base: .space 1\n .size _.stapsdt.base, 1\n .popsection\n.endif\n")
        __attribute__((noinline)) void guarded(void) { PROBE("guarded", "semaphore"); }
        __attribute__((noinline)) void always(void) { PROBE("always", "0"); }
        static void *choose(void) { return guarded; }
        void chosen(void) __attribute__((ifunc("choose")));
        int main(void) { guarded(); always(); chosen(); return semaphore; }
        """#

    @Test func functionsAndStaticProbesAreFound() throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let path = try workshop.compile(Self.program, to: "program", [])
        let places = try ProbePlaces(of: path), probes = places.staticProbes
        #expect(probes.map { "\($0.provider):\($0.name)" } == ["tests:guarded", "tests:always"])
        for (probe, function) in zip(probes, ["guarded", "always"]) {
            let found = places.functions(named: function)
            try #require(found.count == 1 && !found[0].isIndirect)
            let size = try #require(found[0].size)
            #expect((found[0].offset..<found[0].offset + size).contains(probe.offset))
        }
        #expect(probes[0].semaphore != 0 && probes[1].semaphore == 0)
        #expect(places.functions(named: "chosen").map(\.isIndirect) == [true])
        #expect(places.functions(named: "nothing").isEmpty && places.functionNames.isSuperset(of: ["guarded", "always", "main"]))
    }

    @Test func damagedFilesGiveProbesOrAnError() throws {
        let workshop = try Workshop()
        defer { workshop.remove() }
        let path = try workshop.compile(Self.program, to: "program", [])
        let original = Array(try Data(contentsOf: URL(fileURLWithPath: path)))
        let note = try #require(original.firstRange(of: Array("stapsdt\0".utf8))?.lowerBound)
        var random = SeededGenerator(seed: 4711), found = 0
        for _ in 0..<1500 {
            var damaged = original
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                let place =
                    Bool.random(using: &random) ? Int.random(in: note - 12..<note + 60, using: &random) : Int.random(in: 0..<original.count, using: &random)
                damaged[place] = [0, 1, 0x7f, 0xff, UInt8.random(in: 0...255, using: &random)].randomElement(using: &random) ?? 0
            }
            try Data(damaged).write(to: URL(fileURLWithPath: path))
            guard let places = try? ProbePlaces(of: path) else { continue }
            found += places.staticProbes.count + places.functions(named: "guarded").count
            _ = places.functionNames
        }
        #expect(found > 0)
    }
}
