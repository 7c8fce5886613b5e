/// Draws the stacks as one self-contained, interactive SVG document.
///
/// The same stacks and options give the same bytes. The document is valid XML 1.0 whatever bytes the names hold.
/// It is a finished picture without its script; the script makes it fluid and adds zoom, search and tooltips.
/// Stacks that weigh nothing give a picture that says so: ask `emptyInput` first.
///
/// - Returns: the document, UTF-8.
public func renderSVG(_ stacks: borrowing FoldedStacks, _ options: FlamegraphOptions = FlamegraphOptions()) -> [UInt8] {
    var options = options.bounded
    options.difference.beforeScale = stacks.beforeScale
    let layout = Layout(stacks, minimumShare: options.minWidth / 100)
    var document = SVGDocument(stacks, options, layout)
    document.write(stacks)
    return document.out.bytes
}

/// Sizes in pixels that the picture and the viewer share.
enum Geometry {
    /// Free space left and right of the graph.
    static let side = 20
    /// From the picture's top to the graph's, with a subtitle and without.
    static func top(hasSubtitle: Bool) -> Int { hasSubtitle ? 112 : 88 }
    static let footLineHeight = 19
    /// From the graph's lower edge to the first foot line's baseline.
    static let footGap = 30
    /// Below the last foot line's baseline.
    static let footPadding = 4
    /// Between a box's edge and its name.
    static let labelPadding = 4.0
    /// Marks boxes that weigh more at their upper, those that weigh less at their lower edge.
    static let bandHeight = 2
    /// How much higher names stand where there are bands, so that none covers an underscore.
    static let labelRise = 1.5
    /// Fewer columns of a cut name say nothing.
    static let minimumColumns = 3
    /// Widths of letters of the page's font at 12 and 13 pixels, for estimates.
    static let footLetter = 6.4
    static let legendLetter = 7.2
}

struct SVGDocument {
    let options: FlamegraphOptions
    let layout: Layout
    let foot: [String]
    let shades: Shades
    var out = MarkupWriter()
    /// Places of the names in the profile's list, by their keys, filled when it is written.
    var places: [Int32] = []

    var top: Int { Geometry.top(hasSubtitle: !options.subtitle.isEmpty) }
    var graphHeight: Int { max(layout.rows, 4) * options.rowHeight }
    var graphWidth: Double { Double(options.width - 2 * Geometry.side) }

    init(_ stacks: borrowing FoldedStacks, _ options: FlamegraphOptions, _ layout: Layout) {
        self.options = options
        self.layout = layout
        foot = footLines(stacks, layout, options)
        shades = options.shadesByName || stacks.isDifference ? Shades() : Shades(stacks, layout, options)
    }

    mutating func write(_ stacks: borrowing FoldedStacks) {
        let footRows = foot.flatMap { wrapped($0, columns: Int(graphWidth / Geometry.footLetter)) }
        let height = top + graphHeight + Geometry.footGap + footRows.count * Geometry.footLineHeight + Geometry.footPadding
        out.literal("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n")
        out.literal("<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"")
        out.escaped(rootClass)
        out.literal("\" width=\"")
        out.integer(options.width)
        out.literal("\" height=\"")
        out.integer(height)
        out.literal("\" viewBox=\"0 0 ")
        out.integer(options.width)
        out.literal(" ")
        out.integer(height)
        out.literal("\" preserveAspectRatio=\"xMidYMin meet\" font-size=\"13\" role=\"img\" aria-label=\"")
        out.escaped(options.title)
        out.literal("\">\n<title>")
        out.escaped(options.title)
        out.literal("</title>\n<style><![CDATA[")
        out.raw(viewerStyle)
        out.literal("]]></style>\n")
        writePaper()
        writeHead(stacks)
        if stacks.isEmpty {
            writeNothing(stacks)
        } else {
            writeGraph(stacks)
        }
        writeFoot(footRows)
        if !stacks.isEmpty {
            writeProfile(stacks)
            out.literal("<script><![CDATA[")
            out.raw(viewerScript)
            out.literal("]]></script>\n")
        }
        out.literal("</svg>\n")
    }

    /// What the style must know: a background of its own is as light or dark by night as by day.
    private var rootClass: String {
        guard let background = options.background else { return "flamegraph" }
        return background.isDark ? "flamegraph daylight onDark" : "flamegraph daylight"
    }

    private mutating func writePaper() {
        guard let background = options.background else {
            return out.literal("<rect class=\"paper\" width=\"100%\" height=\"100%\" fill=\"#fdfcfa\"/>\n")
        }
        // Bands instead of a gradient: a gradient is referred to by an id, which two pictures in one page would share.
        let bands = background.top == background.foot ? 1 : 24
        for band in 0..<bands {
            out.literal("<rect x=\"0\" width=\"100%\" y=\"")
            out.pixels(Double(100 * band) / Double(bands))
            out.literal("%\" height=\"")
            out.pixels(100 - Double(100 * band) / Double(bands))
            out.literal("%\" fill=\"")
            out.escaped(hexColor(background.color(band, of: bands)))
            out.literal("\"/>\n")
        }
    }

    private mutating func writeHead(_ stacks: borrowing FoldedStacks) {
        out.literal("<g class=\"head\">\n<text class=\"ink headline\" x=\"20\" y=\"38\" font-size=\"21\" font-weight=\"600\">")
        out.escaped(options.title)
        out.literal("</text>\n")
        if !options.subtitle.isEmpty {
            out.literal("<text class=\"quiet subtitle\" x=\"20\" y=\"62\" font-size=\"13\">")
            out.escaped(options.subtitle)
            out.literal("</text>\n")
        }
        out.literal("</g>\n")
        if !stacks.isEmpty { writeLegend(stacks) }
    }

    /// Swatches of what the colours mean, where they mean something.
    private mutating func writeLegend(_ stacks: borrowing FoldedStacks) {
        let entries = stacks.isDifference ? options.difference.legend : kindLegend(stacks)
        let y = top - 18
        out.literal("<g class=\"legend\" font-size=\"13\">\n")
        var x = Double(Geometry.side)
        for (className, text) in entries {
            if let className {
                out.literal("<rect class=\"")
                out.escaped(className)
                out.literal("\" x=\"")
                out.pixels(x)
                out.literal("\" y=\"")
                out.integer(y - 10)
                out.literal("\" width=\"11\" height=\"11\" rx=\"2\" fill=\"#e8b46a\"/>\n")
                x += 17
            }
            out.literal("<text class=\"")
            out.literal(className == nil ? "quiet" : "ink")
            out.literal("\" x=\"")
            out.pixels(x)
            out.literal("\" y=\"")
            out.integer(y)
            out.literal("\">")
            out.escaped(text)
            out.literal("</text>\n")
            x += Double(text.unicodeScalars.count) * Geometry.legendLetter + 16
        }
        out.literal("</g>\n")
    }

    /// The kinds that are drawn, each with the share of weight that ends in frames of that kind.
    private func kindLegend(_ stacks: borrowing FoldedStacks) -> [(className: String?, text: String)] {
        guard options.palette == .kind, options.colorsByName.isEmpty, stacks.names.haveKinds else { return [] }
        var drawn = Set<FrameKind>()
        var weights = stacks.weightByLeafKind
        for box in layout.boxes.dropFirst() {
            let kind = stacks.names.kind(stacks.tree[box.node].name)
            if isProcess(stacks, box.node) { weights[Int(kind.rawValue)] -= box.own } else { drawn.insert(kind) }
        }
        var entries: [(className: String?, text: String)] = [(nil, "Self")]
        for kind in FrameKind.allCases where drawn.contains(kind) {
            let share = percentText(weights[Int(kind.rawValue)], of: stacks.total)
            entries.append(("\(Paint.family(of: kind))2", "\(kind.label) \(share)"))
        }
        return entries
    }

    private mutating func writeNothing(_ stacks: borrowing FoldedStacks) {
        out.literal("<text class=\"ink\" x=\"20\" y=\"")
        out.integer(top + 24)
        out.literal("\" font-size=\"15\">Nothing to draw</text>\n<text class=\"quiet\" x=\"20\" y=\"")
        out.integer(top + 48)
        out.literal("\">")
        out.escaped(stacks.emptyInput?.description ?? "")
        out.literal("</text>\n")
    }

    private mutating func writeFoot(_ rows: [String]) {
        out.literal("<g class=\"foot\" font-size=\"12\">\n")
        var y = top + graphHeight + Geometry.footGap
        for row in rows {
            out.literal("<text class=\"quiet\" x=\"20\" y=\"")
            out.integer(y)
            out.literal("\">")
            out.escaped(row)
            out.literal("</text>\n")
            y += Geometry.footLineHeight
        }
        out.literal("</g>\n")
    }
}
