import Foundation
import Testing
@testable import Flamegraph

@Suite struct PaletteTests {
    private func luminance(_ color: UInt32) -> Double {
        let channels = [16, 8, 0].map { shift -> Double in
            let value = Double(color >> UInt32(shift) & 255) / 255
            return value <= 0.03928 ? value / 12.92 : pow((value + 0.055) / 1.055, 2.4)
        }
        return 0.2126 * channels[0] + 0.7152 * channels[1] + 0.0722 * channels[2]
    }

    private func paint(_ palette: Palette, _ kind: FrameKind, _ name: String) -> Paint {
        Array(name.utf8).withUnsafeBytes { palette.family(kind: kind, name: $0).paint(shade: Shades.preferred(for: $0, 0)) }
    }

    @Test(arguments: Palette.allCases.filter { $0 != .kind })
    func lettersCanBeReadOnEveryColour(palette: Palette) throws {
        let ink = luminance(0x1f2328)
        for kind in FrameKind.allCases {
            for index in 0..<97 {
                let fill = try #require(paint(palette, kind, "a::b/\(index)").fill)
                #expect((luminance(fill) + 0.05) / (ink + 0.05) >= 4.5, "\(hexColor(fill))")
            }
        }
    }

    @Test func aFunctionKeepsItsColour() {
        for palette in Palette.allCases { #expect(paint(palette, .user, "main") == paint(palette, .user, "main")) }
    }

    @Test func languagesTellTheirPartsApart() {
        let parts: [(Palette, [(FrameKind, String)])] = [
            (.java, [(.jit, "org/x/Y::z"), (.user, "JavaCalls::call"), (.user, "read"), (.kernel, "sys_read"), (.inlined, "a/b")]),
            (.js, [(.jit, "LazyCompile:f /a.js:1"), (.jit, "Builtin:x"), (.user, "v8::x"), (.user, "read"), (.kernel, "sys_read")]),
            (.python, [(.user, "f (/a.py)"), (.user, "f (/site-packages/a.py)"), (.user, "PyEval"), (.user, "read"), (.kernel, "k")]),
            (.rust, [(.user, "core::fmt"), (.user, "mine::f"), (.user, "read"), (.kernel, "k")]),
            (.perl, [(.user, "Perl_pp"), (.user, "A::b"), (.user, "read"), (.kernel, "k")]),
        ]
        for (palette, frames) in parts {
            #expect(Set(frames.map { paint(palette, $0.0, $0.1).fill }).count == frames.count, "\(palette)")
        }
    }

    @Test func everyPaletteAndBackgroundGivesValidXML() throws {
        for palette in Palette.allCases {
            var options = FlamegraphOptions()
            options.palette = palette
            options.background = Background(["yellow", "blue", "green", "grey", "#102030"].randomElement() ?? "")
            options.colorsByName = palette == .hot ? ["main": 0x123456] : [:]
            let svg = try drawn(FoldedStacks(parsing: randomFolded(seed: 3, lines: 50) + Array("main 10000\n".utf8)), options)
            if palette == .hot { #expect(text(svg).contains("fill=\"#123456\"")) }
        }
    }

    @Test func keptColoursMayCarryTheMarkOfTheirKind() throws {
        var options = FlamegraphOptions()
        options.colorsByName = ["read_[k]": 0x102030, "read": 0x405060, "write": 0x708090]
        let svg = text(try drawn(folded("read;read_[k];write_[l] 10\n"), options))
        for color in ["#102030", "#405060", "#708090"] { #expect(svg.contains("fill=\"\(color)\"")) }
    }

    @Test func backgroundsAreNamesOrColours() {
        #expect(Background("blue") != nil && Background("#fFf0a0") != nil)
        #expect(Background("#12345") == nil && Background("red\"") == nil && Background("#gggggg") == nil && Background("") == nil)
        #expect(Background("#102030")?.isDark == true && Background("yellow")?.isDark == false)
    }

    @Test func differencesWithinNoiseAreGreyAndOthersHaveASign() {
        func change(_ before: UInt64, _ after: UInt64, decimals: Int = 0, sample: Double = 1) -> (String, String) {
            var options = DifferenceOptions()
            options.sampleWeight = sample
            let change = Change(before: before, after: after, decimals: decimals, options)
            return (change.paint(negated: false).className, change.sign.description)
        }
        #expect(change(100, 100) == ("n0", ""))
        #expect(change(100, 110) == ("n0", ""))
        #expect(change(100, 200) == ("r4", "▲ "))
        #expect(change(200, 100) == ("b4", "▼ "))
        #expect(change(10_000, 10_500) == ("r1", "▲ "))
        #expect(change(0, 2) == ("n0", "✚ "))
        #expect(change(0, 9) == ("r4", "✚ "))
        #expect(change(9, 0) == ("b4", "✕ "))
        #expect(change(90, 0, decimals: 1) == ("b4", "✕ "))
        #expect(change(1_000_000, 2_000_000, sample: 1_000_000) == ("n0", ""))
        let negated = Change(before: 1, after: 99, decimals: 0, DifferenceOptions())
        #expect(negated.paint(negated: true).className == "b4")
    }
}
