/// What a picture says and how big it is. The defaults make a good picture of any profile.
public struct FlamegraphOptions: Sendable {
    /// The headline, and the document's title.
    public var title: String
    /// A line below it: the target, the command, the event. Empty for none.
    public var subtitle: String
    /// What the weights count, in the plural: "samples", "bytes", "ns".
    public var countName: String
    /// Lines at the foot of the picture: provenance, losses.
    public var notes: [String]
    /// Stands before a frame's name where it is described, as in "Function: main". Empty for nothing.
    public var nameType = ""
    /// Width of the picture in pixels, 320 to 16384.
    public var width = 1200
    /// Whether the picture takes the width there is, where scripts run.
    public var isFluid = true
    /// Boxes narrower than this percentage of all weight are not drawn, and counted at the foot.
    public var minWidth = 0.01
    /// Height of a row in pixels, 12 to 64.
    public var rowHeight = 18
    /// Size of the names in the boxes, in pixels, 6 to 48.
    public var fontSize = 12.0
    /// Width of a letter as a share of the font size, 0.3 to 1.5: decides how much of a name fits a box until the viewer measures.
    public var fontWidth = 0.6
    /// The font of the names in the boxes. Fixed pitch, so that what fits is known without a font at hand.
    public var fontFamily = "ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace"
    /// Draws the root at the top and grows downward (an icicle graph).
    public var inverted = false
    public var palette = Palette.kind
    /// Chooses shades by the names alone, not by the neighbours in a picture.
    public var shadesByName = false
    /// Another number gives other shades.
    public var seed: UInt64 = 0
    /// Which part of a name is left out where its box is too narrow for it.
    public var nameCut = NameCut.auto
    /// What some frames are described by, or link to.
    public var attributes: [String: FrameAttributes] = [:]
    /// How often each command was called, by its name in capitals, where the stacks are kept apart by command.
    public var callsByCommand: [String: UInt64] = [:]
    /// Colours of some names, 0xRRGGBB, that come before the palette's.
    public var colorsByName: [String: UInt32] = [:]
    /// Nil for light by day and dark by night.
    public var background: Background?
    /// How two profiles are compared, where the stacks are two.
    public var difference = DifferenceOptions()

    public init(
        title: String = "Flame graph", subtitle: String = "", countName: String = "samples", notes: [String] = []
    ) {
        self.title = title
        self.subtitle = subtitle
        self.countName = countName
        self.notes = notes
    }

    /// The colour that is kept for a name: with the mark of its kind, as other tools write it, or without.
    func ownColor(marked: UnsafeRawBufferPointer, shown: UnsafeRawBufferPointer) -> UInt32? {
        if colorsByName.isEmpty { return nil }
        return colorsByName[String(decoding: marked, as: UTF8.self)] ?? colorsByName[String(decoding: shown, as: UTF8.self)]
    }

    /// What a file of attributes says of a name, with the mark of its kind or without.
    func attributes(marked: UnsafeRawBufferPointer, shown: UnsafeRawBufferPointer) -> FrameAttributes? {
        if attributes.isEmpty { return nil }
        return attributes[String(decoding: marked, as: UTF8.self)] ?? attributes[String(decoding: shown, as: UTF8.self)]
    }

    /// The same with every number within its bounds, so that no option can break a picture.
    var bounded: FlamegraphOptions {
        var bounded = self
        bounded.width = min(max(width, 320), 16384)
        bounded.minWidth = minWidth.isNaN ? 0 : min(max(minWidth, 0), 100)
        bounded.rowHeight = min(max(rowHeight, 12), 64)
        if let sample = difference.sampleWeight, !sample.isFinite || sample <= 0 { bounded.difference.sampleWeight = 1 }
        bounded.fontSize = fontSize.isNaN ? 12 : min(max(fontSize, 6), 48)
        bounded.fontWidth = fontWidth.isNaN ? 0.6 : min(max(fontWidth, 0.3), 1.5)
        return bounded
    }
}
