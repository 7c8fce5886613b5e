/// Which colours the boxes have.
///
/// The names are those that flamegraph users know. The family of a frame's colours is chosen by its kind and name; the shade by its name
/// and its neighbours (`Shades`). All colours carry their letters at a contrast of 4.5:1 or more.
public enum Palette: String, CaseIterable, Sendable {
    /// kiln's own: a family of colours for each kind of frame, that differ in lightness too, by day, by night and on paper.
    case kind
    case hot, mem, io, red, green, blue, aqua, yellow, purple, orange
    /// Stacks of wakers and of those they wake.
    case wakeup, chain
    /// By the parts of a language's runtime.
    case java, js, perl, python, rust
}

/// The colour of a box: the name of a class that the style knows, or a colour of its own.
///
/// Of the classes' names the letter is the family, the digit the shade. What they look like by day, by night and on
/// paper, is the style's.
struct Paint: Hashable {
    static let root = Paint(className: "a0")
    static let processFamily: Character = "p"

    var className: String
    /// 0xRRGGBB, or nil when the class decides.
    var fill: UInt32?

    init(className: String) { self.className = className }

    /// A colour that is the same by day and by night.
    init(fill: UInt32) {
        className = "own"
        self.fill = fill
    }

    static func family(of kind: FrameKind) -> Character {
        switch kind {
        case .user: "u"
        case .kernel: "k"
        case .library: "l"
        case .inlined: "i"
        case .jit: "j"
        case .waker: "w"
        case .unresolved: "x"
        }
    }
}

/// Colours of one look. Two frames next to each other that have one family need two shades of it.
struct ColorFamily: Hashable {
    /// The kind, where the style decides what it looks like.
    fileprivate var kind: FrameKind?
    fileprivate var hue: Hue

    func paint(shade: Int) -> Paint {
        kind.map { Paint(className: "\(Paint.family(of: $0))\(shade)") } ?? Paint(fill: color(shade: shade))
    }

    /// As a number, for palettes that are kept in files.
    func color(shade: Int) -> UInt32 { hue.shade(shade) }
}

extension Palette {
    /// The colours of a frame that is not the root.
    func family(kind: FrameKind, name: UnsafeRawBufferPointer) -> ColorFamily {
        if let hue = hue(kind, name) { return ColorFamily(kind: nil, hue: hue) }
        return ColorFamily(kind: kind, hue: .ofKind(kind))
    }

    private func hue(_ kind: FrameKind, _ name: UnsafeRawBufferPointer) -> Hue? {
        switch self {
        case .kind: nil
        case .hot: .hot
        case .mem: .mem
        case .io: .io
        case .red: .red
        case .green: .green
        case .blue: .blue
        case .yellow: .yellow
        case .purple: .purple
        case .orange: .orange
        case .aqua, .wakeup: .aqua
        case .chain: kind == .waker ? .aqua : .blue
        case .java, .js, .perl, .python, .rust: languageHue(kind, Name(bytes: name))
        }
    }

    private func languageHue(_ kind: FrameKind, _ name: Name) -> Hue {
        if kind == .kernel { return .orange }
        switch self {
        case .java:
            if kind == .inlined { return .aqua }
            if kind == .jit || name.contains("/") || name.contains(":::") { return .green }
            if ["java.", "javax.", "jdk.", "sun.", "com.", "org.", "io.", "net."].contains(where: name.begins) { return .green }
            return name.contains("::") ? .yellow : .red
        case .js:
            if kind == .jit { return name.contains("/") ? .green : .aqua }
            if name.contains("::") { return .yellow }
            if name.contains(".js") { return .green }
            return name.contains(":") ? .aqua : .red
        case .perl:
            if name.contains("Perl") || name.contains(".pl") || name.contains(".pm") { return .green }
            return name.contains("::") ? .yellow : .red
        case .python:
            if name.contains("site-packages") || name.contains("dist-packages") { return .aqua }
            if name.contains(".py") || kind == .jit { return .green }
            return name.begins("Py") || name.begins("_Py") ? .yellow : .red
        default:  // rust
            if ["core::", "std::", "alloc::", "<core::", "<std::", "<alloc::"].contains(where: name.begins) { return .aqua }
            return name.contains("::") ? .yellow : .red
        }
    }

    private struct Name {
        var bytes: UnsafeRawBufferPointer
        func begins(_ text: String) -> Bool { bytes.starts(with: text.utf8) }
        func contains(_ text: String) -> Bool {
            let length = text.utf8.count
            guard bytes.count >= length else { return false }
            return (0...(bytes.count - length)).contains { bytes[$0...].starts(with: text.utf8) }
        }
    }
}

extension FlamegraphOptions {
    /// Whether boxes have colours that are the same by day and by night.
    var hasOwnColors: Bool { palette != .kind || !colorsByName.isEmpty }

    var rootPaint: Paint { hasOwnColors ? Paint(fill: 0xdedbd5) : .root }

    /// The paint of a frame that is not the root: `marked` is its name with the mark of its kind, `shown` without.
    func paint(marked: UnsafeRawBufferPointer, shown: UnsafeRawBufferPointer, kind: FrameKind, isProcess: Bool, shade: Int) -> Paint {
        if isProcess, !hasOwnColors { return .root }
        let family = palette.family(kind: kind, name: shown)
        if colorsByName.isEmpty { return family.paint(shade: shade) }
        return Paint(fill: ownColor(marked: marked, shown: shown) ?? family.color(shade: shade))
    }
}

/// A range of colours, between two ends.
private struct Hue: Hashable {
    var low: UInt32
    var high: UInt32

    static let hot = Hue(low: 0xf4785a, high: 0xf7d154)
    static let mem = Hue(low: 0x5fc79a, high: 0xa9e8a8)
    static let io = Hue(low: 0x83a3f2, high: 0xb0d4fb)
    static let red = Hue(low: 0xf28078, high: 0xf7b5aa)
    static let green = Hue(low: 0x74c96c, high: 0xb4e89e)
    static let blue = Hue(low: 0x7fb2ee, high: 0xb6d8fa)
    static let aqua = Hue(low: 0x5cc9cf, high: 0xa3e8e6)
    static let yellow = Hue(low: 0xdcc649, high: 0xf3e794)
    static let purple = Hue(low: 0xc08fe6, high: 0xe2c6f6)
    static let orange = Hue(low: 0xf39a45, high: 0xfbcb8c)
    static let grey = Hue(low: 0xc5c8cc, high: 0xdadde0)

    static func ofKind(_ kind: FrameKind) -> Hue {
        switch kind {
        case .user: orange
        case .kernel: blue
        case .library: aqua
        case .inlined: yellow
        case .jit: purple
        case .waker: red
        case .unresolved: grey
        }
    }

    func shade(_ index: Int) -> UInt32 {
        var color: UInt32 = 0
        for shift: UInt32 in [16, 8, 0] {
            let (from, to) = (Int(low >> shift & 255), Int(high >> shift & 255))
            color |= UInt32(from + (to - from) * index / (Shades.count - 1)) << shift
        }
        return color
    }
}

/// `#rrggbb`
func hexColor(_ color: UInt32) -> String {
    let digits = String(color & 0xff_ffff, radix: 16)
    return "#" + String(repeating: "0", count: 6 - digits.count) + digits
}

extension FoldedStacks {
    /// Every frame's name as it is shown, with its colour under these options, 0xRRGGBB, in the names' bytewise order:
    /// what a file of colours keeps, so that later pictures have the same.
    public func colors(_ options: FlamegraphOptions) -> [(name: String, color: UInt32)] {
        let order = (0..<UInt32(names.count)).sorted { names.isOrderedBefore($0, $1) }
        var seen = Set<String>()
        return order.compactMap { index in
            let bytes = names.shownBytes(index)
            let name = String(decoding: bytes, as: UTF8.self)
            guard seen.insert(name).inserted else { return nil }
            return (
                name,
                options.ownColor(marked: names.bytes(index), shown: bytes)
                    ?? options.palette.family(kind: names.kind(index), name: bytes).color(shade: Shades.preferred(for: bytes, options.seed))
            )
        }
    }
}
