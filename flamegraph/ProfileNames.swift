/// The part of a profile's JSON that depends only on options and frame names. A page has it once, for all selections that it draws.
///
/// The names are in the order of siblings, so that `orderedStacks` in `stacks.js` need not compare them. A name's shade depends on the name
/// alone, so that a function looks the same in every selection.
public struct ProfileNames: Sendable {
    /// One JSON object, which can stand in XML and in a `<script>`. A page's profile has these members and, for each selection,
    /// `boxes`, as well as `title`, `subtitle`, `foot`, `decimals`, and `difference` as `SVGProfile.swift` describes them. `fontFamily` and
    /// `changes`, the legend of a difference, are for `flamegraphSkeleton` and `boxesOf`.
    public let json: [UInt8]
    /// The index in the JSON's `names` of each of the frames.
    public let frames: [Int]
    /// The index in the JSON's `names` of each of the processes.
    public let processes: [Int]

    /// - Parameters:
    ///   - frames: frames as folded text has them, with the mark of their kind. The same frame may be there twice.
    ///   - processes: names of processes, which are no code: frames that lie on the root.
    ///   - options: how flamegraphs look, and what their weights count. Without a subtitle, selections have none.
    public init(frames: [String], processes: [String] = [], _ options: FlamegraphOptions) {
        let options = options.bounded
        struct Key: Hashable {
            var bytes: [UInt8]
            var isProcess: Bool
        }
        let keys = frames.map { Key(bytes: Array($0.utf8), isProcess: false) } + processes.map { Key(bytes: Array($0.utf8), isProcess: true) }
        let sorted = Set(keys).sorted { one, other in
            one.bytes == other.bytes ? !one.isProcess && other.isProcess : one.bytes.lexicographicallyPrecedes(other.bytes)
        }
        var paints = PaintList()
        var list = NameList(rootPaint: paints.index(of: options.rootPaint))
        var places: [Key: Int] = [:]
        var areMarked = false
        for key in sorted {
            // Always backed by memory, which an empty array is not.
            places[key] = (key.bytes + [0]).withUnsafeBytes { memory in
                let marked = UnsafeRawBufferPointer(rebasing: memory.dropLast())
                let (kind, length) = FrameKind.classify(marked)
                let shown = UnsafeRawBufferPointer(rebasing: marked[..<length])
                areMarked = areMarked || FrameKind.isSaid(kind, hasMark: length < marked.count)
                let shade = Shades.preferred(for: shown, options.seed)
                let paint = options.paint(marked: marked, shown: shown, kind: kind, isProcess: key.isProcess, shade: shade)
                return list.add(
                    shown, kind: key.isProcess ? Paint.processFamily : Paint.family(of: kind), paint: paints.index(of: paint),
                    options.attributes(marked: marked, shown: shown))
            }
        }
        var out = MarkupWriter()
        out.literal("{")
        out.profileOptions(options, top: Geometry.top(hasSubtitle: !options.subtitle.isEmpty), decimals: 0)
        out.literal(",\"title\":")
        out.jsonString(options.title.utf8)
        out.literal(",\"subtitle\":")
        out.jsonString(options.subtitle.utf8)
        out.literal(",\"foot\":[],\"fontFamily\":")
        out.jsonString(options.fontFamily.utf8)
        out.literal(",\"changes\":[")
        for (index, entry) in options.difference.legend.enumerated() {
            out.literal(index > 0 ? ",[" : "[")
            if let className = entry.className { out.jsonString(className.utf8) } else { out.literal("null") }
            out.literal(",")
            out.jsonString(entry.text.utf8)
            out.literal("]")
        }
        out.literal("],")
        out.profileKinds(areMarked: areMarked)
        out.literal(",")
        out.profileNames(list, paints)
        out.literal("}")
        json = out.bytes
        self.frames = keys.prefix(frames.count).map { places[$0] ?? 0 }
        self.processes = keys.dropFirst(frames.count).map { places[$0] ?? 0 }
    }
}

/// The names of a profile's frames, each with what the script needs to know of it. Index 0 is the root.
struct NameList {
    private var count = 1
    fileprivate var names = MarkupWriter()
    /// The letter of each name's kind.
    fileprivate var kinds = "a"
    fileprivate var paintOf = MarkupWriter()
    fileprivate var functions = MarkupWriter()
    fileprivate var attributes = MarkupWriter()

    init(rootPaint: Int) {
        names.literal("\"all\"")
        paintOf.integer(rootPaint)
        functions.literal("0,0")
    }

    /// Adds a name, as it is shown, and returns its index. `paint` is an index in the list of paints that is written with this.
    mutating func add(_ name: UnsafeRawBufferPointer, kind: Character, paint: Int, _ attributes: FrameAttributes?) -> Int {
        names.literal(",\n")
        names.jsonString(name)
        kinds.append(kind)
        paintOf.literal(",")
        paintOf.integer(paint)
        let function = NameCut.functionName(in: name) ?? 0..<0
        for end in [function.lowerBound, function.upperBound] {
            functions.literal(",")
            functions.integer(end)
        }
        if let attributes { self.attributes.attributes(attributes, of: count) }
        defer { count += 1 }
        return count
    }
}

/// Members of a profile's JSON.
extension MarkupWriter {
    /// How the flamegraph looks, and what is counted.
    mutating func profileOptions(_ options: FlamegraphOptions, top: Int, decimals: Int) {
        literal("\"version\":2,\"unit\":")
        jsonString(options.countName.utf8)
        literal(",\"decimals\":")
        integer(decimals)
        literal(",\"rowHeight\":")
        integer(options.rowHeight)
        literal(",\"fontSize\":")
        pixels(options.fontSize)
        literal(",\"top\":")
        integer(top)
        literal(",\"minimum\":")
        jsonNumber(options.minWidth / 100)
        literal(options.isFluid ? ",\"fluid\":true,\"nameType\":" : ",\"fluid\":false,\"nameType\":")
        jsonString(options.nameType.utf8)
        literal(",\"cut\":")
        jsonString(options.nameCut.rawValue.utf8)
        literal(options.inverted ? ",\"inverted\":true" : ",\"inverted\":false")
    }

    /// What each letter of a kind means.
    mutating func profileKinds(areMarked: Bool) {
        literal("\"kinds\":{")
        for kind in FrameKind.allCases {
            jsonString(String(Paint.family(of: kind)).utf8)
            literal(":")
            // Text without marks says of no frame what it is.
            jsonString((areMarked ? kind.label : "").utf8)
            literal(",")
        }
        literal("\"p\":\"process\"}")
    }

    /// Each name once, with the letter of its kind and the index of its paint.
    mutating func profileNames(_ list: NameList, _ paints: PaintList) {
        literal("\"names\":[")
        raw(list.names.bytes)
        literal("],\n\"kindOf\":")
        jsonString(list.kinds.utf8)
        literal(",\n\"paints\":[")
        for (index, paint) in paints.all.enumerated() {
            if index > 0 { literal(",") }
            jsonString(paint.className.utf8)
            literal(",")
            jsonString((paint.fill.map(hexColor) ?? "").utf8)
        }
        literal("],\n\"paintOf\":[")
        raw(list.paintOf.bytes)
        // Where the function's own name begins and ends in each name; equal where that is all or nothing of it.
        literal("],\n\"functionOf\":[")
        raw(list.functions.bytes)
        literal("],\n\"attributes\":{")
        raw(Array(list.attributes.bytes.dropFirst()))
        literal("}")
    }

    /// A finite number.
    mutating func jsonNumber(_ value: Double) { raw(Array(String(value).utf8)) }

    /// A comma, and what is said of the name at this index.
    fileprivate mutating func attributes(_ attributes: FrameAttributes, of index: Int) {
        literal(",\"")
        integer(index)
        literal("\":{\"title\":")
        jsonString((attributes.title ?? "").utf8)
        literal(",\"link\":")
        jsonString((attributes.link ?? "").utf8)
        literal(",\"target\":")
        jsonString(attributes.target.utf8)
        literal("}")
    }
}
