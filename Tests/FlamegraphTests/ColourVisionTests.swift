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
        for match in style.matches(of: /\.([uklijwx])[0-4]\{fill:#([0-9a-f]{6})\}/) {
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
        #expect(kinds.values.allSatisfy { $0.count == 5 })
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
}
