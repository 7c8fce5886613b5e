/// What lies behind the graph. Without one, the page is light by day and dark by night.
public struct Background: Sendable, Equatable {
    /// 0xRRGGBB at the top and at the foot.
    var top: UInt32
    var foot: UInt32

    /// A name that flamegraph users know (yellow, blue, green, grey), or a colour, `#rrggbb`; nil for anything else.
    public init?(_ text: String) {
        switch text {
        case "yellow": (top, foot) = (0xf8f6ec, 0xf4ecc4)
        case "blue": (top, foot) = (0xf1f3f9, 0xdfe6f5)
        case "green": (top, foot) = (0xf0f6f0, 0xdcefdb)
        case "grey", "gray": (top, foot) = (0xf7f7f7, 0xe6e6e6)
        default:
            guard text.utf8.count == 7, text.hasPrefix("#"), let color = UInt32(text.dropFirst(), radix: 16) else { return nil }
            (top, foot) = (color, color)
        }
    }

    /// The colour of one of some bands from the top to the foot.
    func color(_ band: Int, of bands: Int) -> UInt32 {
        guard bands > 1 else { return top }
        return [16, 8, 0].reduce(0) { color, shift in
            let (from, to) = (Int(top >> shift & 255), Int(foot >> shift & 255))
            return color | UInt32(from + (to - from) * band / (bands - 1)) << shift
        }
    }

    /// Whether letters on it must be light.
    var isDark: Bool {
        // Perceived lightness after ITU-R BT.601.
        (top >> 16 & 255) * 299 + (top >> 8 & 255) * 587 + (top & 255) * 114 < 128_000
    }
}
