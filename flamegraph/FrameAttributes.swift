/// What is said of a frame besides its weight, from a file in the format of other flamegraph tools: lines of a name, a tab, and
/// `attribute=value` with tabs between them.
public struct FrameAttributes: Sendable, Equatable {
    /// Stands in the frame's description.
    public private(set) var title: String?
    /// Where the frame's name links to: http or https, so that no file makes a picture run a script.
    public private(set) var link: String?
    /// The window in which the link opens.
    public private(set) var target = "_top"

    private static let targets: Set = ["_top", "_blank", "_self", "_parent"]

    /// Reads a file. `ignored` has a sentence for each thing that is not taken over, the number of its line first.
    public static func parse(_ text: [UInt8]) -> (byName: [String: FrameAttributes], ignored: [(line: Int, what: String)]) {
        var byName: [String: FrameAttributes] = [:]
        var ignored: [(line: Int, what: String)] = []
        for (index, line) in text.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).enumerated() {
            let fields = (line.last == UInt8(ascii: "\r") ? line.dropLast() : line).split(separator: UInt8(ascii: "\t"))
                .map { String(decoding: $0, as: UTF8.self) }
            guard let name = fields.first else { continue }
            if fields.count == 1 { ignored.append((index + 1, "no tab and attribute behind the name")) }
            for field in fields.dropFirst() {
                if let what = byName[name, default: FrameAttributes()].take(field) { ignored.append((index + 1, what)) }
            }
            if byName[name] == FrameAttributes() { byName[name] = nil }
        }
        return (byName, ignored)
    }

    /// Takes over one attribute, or says why not.
    private mutating func take(_ field: String) -> String? {
        guard let sign = field.firstIndex(of: "=") else { return "`\(displayString(field.utf8))` is no attribute=value" }
        let (key, value) = (field[..<sign], String(field[field.index(after: sign)...]))
        switch key {
        case "title": title = value
        case "href":
            guard Self.isLink(value) else { return "href `\(displayString(value.utf8))` is no http:// or https:// address" }
            link = value
        case "target":
            guard Self.targets.contains(value) else { return "target `\(displayString(value.utf8))` is none of _top, _blank, _self and _parent" }
            target = value
        default: return "attribute `\(displayString(key.utf8))` is not used: title, href and target are"
        }
        return nil
    }

    /// Whether an address begins with http:// or https:// and has nothing that an address must escape.
    private static func isLink(_ text: String) -> Bool {
        let lowered = text.prefix(8).lowercased()
        guard let scheme = ["http://", "https://"].first(where: lowered.hasPrefix) else { return false }
        return text.utf8.count > scheme.utf8.count && text.utf8.allSatisfy { $0 > 0x20 && $0 != 0x7f }
    }
}
