/// The boxes and the names in them.
extension SVGDocument {
    /// All boxes of one paint are one path: a picture of fifty thousand boxes stays small and is redrawn at once.
    mutating func writeGraph(_ stacks: borrowing FoldedStacks) {
        let scale = graphWidth / Double(stacks.total)
        var paints = PaintList(stacks)
        var paths: [MarkupWriter] = []
        var bands = MarkupWriter()
        var labels = MarkupWriter()
        for box in layout.boxes {
            let width = Double(box.total) * scale
            let x = Double(Geometry.side) + Double(box.start) * scale
            let y = top + (options.inverted ? box.depth : max(layout.rows, 4) - 1 - box.depth) * options.rowHeight
            let drawn = width > 3 ? width - 1 : width * 0.8
            let change = stacks.isDifference && box.depth > 0 ? change(box, stacks.decimals) : nil
            let paint = change.map { paints.index(of: $0.paint(negated: options.difference.isNegated)) } ?? paints.index(of: box.node, stacks, self)
            while paths.count <= paint { paths.append(MarkupWriter()) }
            paths[paint].box(x: x, y: y, width: drawn, height: options.rowHeight - 1)
            if let change, change.level > 0 {
                let band = y + (change.isMore ? 0 : options.rowHeight - 1 - Geometry.bandHeight)
                bands.box(x: x, y: band, width: drawn, height: Geometry.bandHeight)
            }
            writeLabel(stacks, box.node, sign: change?.sign ?? "", x: x, y: y, width: width, &labels)
        }
        out.literal("<g class=\"graph\">\n<g class=\"boxes\" fill=\"#e8b46a\">\n")
        for (paint, path) in zip(paints.all, paths).sorted(by: { $0.0.order < $1.0.order }) {
            out.literal("<path class=\"")
            out.escaped(paint.className)
            if let fill = paint.fill {
                out.literal("\" fill=\"")
                out.escaped(hexColor(fill))
            }
            out.literal("\" d=\"")
            out.raw(path.bytes)
            out.literal("\"/>\n")
        }
        if stacks.isDifference {
            out.literal("<path class=\"bands\" fill=\"#1f2328\" fill-opacity=\"0.6\" d=\"")
            out.raw(bands.bytes)
            out.literal("\"/>\n")
        }
        out.literal("</g>\n<g class=\"labels")
        out.literal(options.hasOwnColors ? " onOwn" : "")
        out.literal("\" font-size=\"")
        out.pixels(options.fontSize)
        out.literal("\" font-family=\"")
        out.escaped(options.fontFamily)
        out.literal("\">\n")
        out.raw(labels.bytes)
        out.literal("</g>\n</g>\n")
    }

    func paint(_ stacks: borrowing FoldedStacks, _ node: UInt32) -> Paint {
        if node == FrameTree.root { return stacks.isDifference ? Paint(className: "n0") : options.rootPaint }
        let name = stacks.tree[node].name
        return options.paint(
            marked: stacks.names.bytes(name), shown: stacks.names.shownBytes(name), kind: stacks.names.kind(name), isProcess: isProcess(stacks, node),
            shade: shades.shade(of: name, stacks, options))
    }

    /// Whether a node is the name of a process, which is no code.
    func isProcess(_ stacks: borrowing FoldedStacks, _ node: UInt32) -> Bool {
        stacks.measure.rootsAreProcesses && !stacks.reading.isReversed && node != FrameTree.root && stacks.tree[node].parent == FrameTree.root
    }

    func change(_ box: Layout.Box, _ decimals: Int) -> Change {
        Change(before: box.before, after: box.total - box.before, decimals: decimals, options.difference)
    }

    private func writeLabel(
        _ stacks: borrowing FoldedStacks, _ node: UInt32, sign: StaticString, x: Double, y: Int, width: Double,
        _ labels: inout MarkupWriter
    ) {
        let columns = Int((width - 2 * Geometry.labelPadding) / (options.fontSize * options.fontWidth))
        guard columns >= Geometry.minimumColumns else { return }
        let isRoot = node == FrameTree.root
        let name = isRoot ? nil : stacks.names.shownBytes(stacks.tree[node].name)
        let attributes = isRoot ? nil : self.attributes(stacks, node)
        labels.literal("<text x=\"")
        labels.pixels(x + Geometry.labelPadding)
        labels.literal("\" y=\"")
        let raised = stacks.isDifference ? Geometry.labelRise : 0
        labels.pixels(Double(y) + (Double(options.rowHeight) - 1) / 2 + options.fontSize * 0.35 - raised)
        labels.literal("\">")
        if let attributes { labels.openLink(attributes) }
        if let name {
            labels.literal(sign)
            for scalar in options.nameCut.fit(name, columns: columns - (sign.utf8CodeUnitCount > 0 ? 2 : 0)) { labels.escaped(scalar) }
        } else {
            labels.literal("all")
        }
        labels.literal(attributes?.link == nil ? "</text>\n" : "</a></text>\n")
    }

    /// What a file of attributes says of a frame.
    func attributes(_ stacks: borrowing FoldedStacks, _ node: UInt32) -> FrameAttributes? {
        let name = stacks.tree[node].name
        return options.attributes(marked: stacks.names.bytes(name), shown: stacks.names.shownBytes(name))
    }
}

/// The paints of a picture, numbered as they are met.
struct PaintList {
    private(set) var all: [Paint] = []
    private var indices: [Paint: Int] = [:]
    /// By the key of a name; -1 where it has not been met.
    private var byName: [Int32]

    /// For paints that no node has.
    init() { byName = [] }

    init(_ stacks: borrowing FoldedStacks) { byName = [Int32](repeating: -1, count: 2 * stacks.names.count) }

    mutating func index(of paint: Paint) -> Int {
        if let index = indices[paint] { return index }
        indices[paint] = all.count
        all.append(paint)
        return all.count - 1
    }

    mutating func index(of node: UInt32, _ stacks: borrowing FoldedStacks, _ document: SVGDocument) -> Int {
        if node == FrameTree.root { return index(of: document.paint(stacks, node)) }
        let key = document.nameKey(stacks, node)
        if byName[key] < 0 { byName[key] = Int32(index(of: document.paint(stacks, node))) }
        return Int(byName[key])
    }
}

extension Paint {
    /// Paths are written in this order, which is the same in every run.
    fileprivate var order: String { className + (fill.map(hexColor) ?? "") }
}

extension MarkupWriter {
    /// The beginning of a link, where the attributes have one. Its title is for the page: some converters draw a `<title>` as text.
    fileprivate mutating func openLink(_ attributes: FrameAttributes) {
        guard let link = attributes.link else { return }
        literal("<a href=\"")
        escaped(link)
        literal("\" target=\"")
        escaped(attributes.target)
        literal("\" rel=\"noopener\">")
    }

    /// A closed rectangle as path commands.
    fileprivate mutating func box(x: Double, y: Int, width: Double, height: Int) {
        literal("M")
        pixels(x)
        literal(" ")
        integer(y)
        literal("h")
        pixels(width)
        literal("v")
        integer(height)
        literal("h")
        pixels(-width)
        literal("z")
    }
}
