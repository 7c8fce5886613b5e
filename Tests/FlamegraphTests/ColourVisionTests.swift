import Foundation
import Testing
@testable import Flamegraph

/// The colours of the kinds, as the style sheet has them, to eyes that see colours differently.
@Suite struct ColourVisionTests {
    private typealias Vector = SIMD3<Double>

    /// What is left of linear red, green and blue where one kind of cones is missing (Machado, Oliveira, Fernandes 2009).
    private static let visions: [(name: String, rows: [Vector], minimum: Double)] = [
        ("all cones", [[1, 0, 0], [0, 1, 0], [0, 0, 1]], 0.07),
        ("no red", [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]], 0.07),
        ("no green", [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]], 0.07),
        // One person in ten thousand; of the others one man in twelve.
        ("no blue", [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]], 0.045),
    ]

    private func linear(_ hex: Substring) -> Vector {
        let number = Int(hex, radix: 16) ?? 0
        return Vector(
            [16, 8, 0].map { shift in
                let value = Double(number >> shift & 255) / 255
                return value <= 0.04045 ? value / 12.92 : pow((value + 0.055) / 1.055, 2.4)
            })
    }

    private func times(_ rows: [Vector], _ vector: Vector) -> Vector { Vector(rows.map { ($0 * vector).sum() }) }

    /// Oklab (Ottosson 2020), in which distances are about as large as they look.
    private func oklab(_ color: Vector) -> Vector {
        let cones = times(
            [
                [0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
                [0.0883024619, 0.2817188376, 0.6299787005],
            ], color)
        return times(
            [
                [0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099],
                [0.0259040371, 0.7827717662, -0.8086757660],
            ], Vector(cbrt(cones.x), cbrt(cones.y), cbrt(cones.z)))
    }

    private func luminance(_ color: Vector) -> Double { (color * [0.2126, 0.7152, 0.0722]).sum() }

    /// Shades by the letter of their kind.
    private func kinds(_ style: Substring) -> [Character: [Vector]] {
        var kinds: [Character: [Vector]] = [:]
        for match in style.matches(of: /\.([uklijwx])[0-3]\{fill:#([0-9a-f]{6})\}/) {
            kinds[match.1.first ?? "?", default: []].append(linear(match.2))
        }
        return kinds
    }

    @Test(arguments: ["day", "night"])
    func kindsCanBeToldApart(time: String) throws {
        let style = text(viewerStyle)
        let night = try #require(style.range(of: "@media screen and (prefers-color-scheme: dark)"))
        let kinds = kinds(time == "day" ? style[..<night.lowerBound] : style[night.upperBound...])
        #expect(kinds.count == FrameKind.allCases.count)
        #expect(kinds.values.allSatisfy { $0.count == Shades.count })
        let ink = luminance(linear(time == "day" ? "1f2328" : "f5f3ef")) + 0.05
        for shades in kinds.values.joined() {
            let ground = luminance(shades) + 0.05
            #expect(max(ink, ground) / min(ink, ground) >= (time == "day" ? 6 : 4.5))
        }
        for vision in Self.visions {
            let seen = kinds.mapValues { $0.map { oklab(times(vision.rows, $0).clamped(lowerBound: .zero, upperBound: .one)) } }
            for (one, shades) in seen {
                for (other, others) in seen where one < other {
                    let nearest = shades.flatMap { shade in others.map { ((shade - $0) * (shade - $0)).sum().squareRoot() } }.min() ?? 0
                    #expect(nearest >= vision.minimum, "\(one) and \(other), \(vision.name), by \(time)")
                }
            }
        }
    }

    /// What a style says of a class: `u0`, or `labels .found`.
    private func fill(_ selector: String, _ time: String) throws -> Vector {
        let style = text(viewerStyle)
        let night = try #require(style.range(of: "@media screen and (prefers-color-scheme: dark)"))
        func value(_ part: Substring, _ prefix: String) -> Substring? {
            for separator in [" { fill: #", "{fill:#", " { fill: #"] {
                if let found = part.range(of: "\(prefix) .\(selector)\(separator)") { return part[found.upperBound...].prefix(6) }
            }
            return nil
        }
        if time == "night", let night = value(style[night.upperBound...], ":not(.daylight)") { return linear(night) }
        return linear(try #require(value(style[..<night.lowerBound], ".flamegraph")))
    }

    private func contrast(_ one: Vector, _ other: Vector) -> Double {
        let (one, other) = (luminance(one) + 0.05, luminance(other) + 0.05)
        return max(one, other) / min(one, other)
    }

    /// A box that shines through to its ground, as browsers mix them: not in linear light.
    private func mixed(_ box: Vector, over ground: Vector, _ opacity: Double) -> Vector {
        let encoded = { (channel: Double) in channel <= 0.0031308 ? channel * 12.92 : 1.055 * pow(channel, 1 / 2.4) - 0.055 }
        let decoded = { (channel: Double) in channel <= 0.04045 ? channel / 12.92 : pow((channel + 0.055) / 1.055, 2.4) }
        return Vector((0..<3).map { decoded(encoded(box[$0]) * opacity + encoded(ground[$0]) * (1 - opacity)) })
    }

    private var ownColours: [(Palette, Vector)] {
        Palette.allCases.filter { $0 != .kind }.flatMap { palette in
            FrameKind.allCases.flatMap { kind in
                ["f", "a::b", "a/b", "java.x", "x.js", "Perl", "x.py", "PyX", "std::x", "x:y", "site-packages"].flatMap { name in
                    (0..<Shades.count).map { shade in
                        let family = Array(name.utf8).withUnsafeBytes { palette.family(kind: kind, name: $0) }
                        return (palette, linear(hexColor(family.color(shade: shade)).dropFirst()))
                    }
                }
            }
        }
    }

    @Test(arguments: ["day", "night"])
    func namesCanBeReadOnEveryBox(time: String) throws {
        let styled = "uklijwx".flatMap { kind in (0..<Shades.count).map { "\(kind)\($0)" } } + ["a0", "n0"] + (1...4).flatMap { ["r\($0)", "b\($0)"] }
        let (ink, paper) = try (fill("labels", time), fill("paper", time))
        for name in styled {
            let box = try fill(name, time)
            #expect(contrast(box, ink) >= 4.5, "\(name) by \(time)")
            #expect(contrast(mixed(box, over: paper, 0.45), ink) >= 4.5, "\(name) by \(time), while searching")
        }
        #expect(try contrast(fill("match", time), fill("labels .found", time)) >= 4.5)
        // Colours of their own are the same by day and by night, under dark letters; while searching by night, under light ones.
        let (dark, light) = (linear("1f2328"), linear("f5f3ef"))
        for (palette, box) in ownColours {
            #expect(contrast(box, dark) >= 4.5, "\(palette)")
            let shining = time == "day" ? contrast(mixed(box, over: paper, 0.45), dark) : contrast(mixed(box, over: paper, 0.35), light)
            #expect(shining >= 4.5, "\(palette) by \(time), while searching")
        }
    }

    @Test(arguments: ["day", "night"])
    func neighboursCanBeToldApart(time: String) throws {
        var families: [String: [Vector]] = [:]
        for kind in "uklijwx" { families["\(kind)"] = try (0..<Shades.count).map { try fill("\(kind)\($0)", time) } }
        for (index, colour) in ownColours.enumerated() { families["\(colour.0) \(index / Shades.count)", default: []].append(colour.1) }
        for vision in Self.visions {
            for (family, shades) in families {
                let seen = shades.map { oklab(times(vision.rows, $0).clamped(lowerBound: .zero, upperBound: .one)) }
                for one in seen.indices {
                    for other in seen.indices where other < one {
                        let difference = seen[one] - seen[other]
                        #expect((difference * difference).sum().squareRoot() >= 0.02, "\(family), \(vision.name), by \(time)")
                    }
                }
            }
        }
    }

    @Test func moreAndLessCanBeToldApart() throws {
        for time in ["day", "night"] {
            for vision in Self.visions.dropLast() {
                for level in 2...4 {
                    let seen = try ["r", "b"].map { try oklab(times(vision.rows, fill("\($0)\(level)", time)).clamped(lowerBound: .zero, upperBound: .one)) }
                    let difference = seen[0] - seen[1]
                    #expect((difference * difference).sum().squareRoot() >= 0.07, "level \(level), \(vision.name), by \(time)")
                }
            }
        }
    }
}
