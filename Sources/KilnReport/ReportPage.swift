import Flamegraph
import FoundationEssentials
import KilnModel
import KilnSessions

/// A session, or two that are compared, as one page: one file, that needs no network.
public struct ReportPage {
    private let sessions: [ReportSession]
    private let trie: StackTrie
    private let comparison: SessionComparison?
    private let lossMeaning: (String) -> String?
    private let version: String

    /// - Parameters:
    ///   - session: The session.
    ///   - trie: Has the session's stacks.
    ///   - version: kiln's.
    ///   - lossMeaning: What a loss means, by its name in session.json.
    public init(_ session: ReportSession, trie: StackTrie, version: String, lossMeaning: @escaping (String) -> String?) {
        (sessions, self.trie, comparison, self.version, self.lossMeaning) = ([session], trie, nil, version, lossMeaning)
    }

    /// Two sessions, before and after.
    ///
    /// - Parameters:
    ///   - comparison: What moved; nil for sessions without commands.
    ///   - trie: Has the stacks of both.
    public init(
        before: ReportSession, after: ReportSession, _ comparison: SessionComparison?, trie: StackTrie, version: String,
        lossMeaning: @escaping (String) -> String?
    ) {
        (sessions, self.trie, self.comparison, self.version, self.lossMeaning) = ([before, after], trie, comparison, version, lossMeaning)
    }

    /// The only script of every page, byte for byte.
    static let script: [UInt8] =
        Array("\"use strict\";\n{\n".utf8) + viewerFunction + pageStacksScript
        + [
            PackageResources.text_js, PackageResources.data_js, PackageResources.filter_js, PackageResources.scale_js, PackageResources.heatmap_js,
            PackageResources.pointer_js, PackageResources.selection_js, PackageResources.flame_js, PackageResources.tables_js, PackageResources.address_js,
            PackageResources.page_js,
        ].joined(separator: "\n".utf8) + Array("}\n".utf8)
    static let style: [UInt8] = viewerStyle + PackageResources.report_css

    /// The content security policy under which every page of this version works, and which each page has in itself.
    public static let contentSecurityPolicy =
        "default-src 'none'; script-src \(ContentSecurityPolicy.source(script)); style-src \(ContentSecurityPolicy.source(style)); base-uri 'none'; form-action 'none'"

    /// The page, HTML in UTF-8. Text of a session is only in blocks of base64 and, escaped, in the title and the heading.
    public var html: [UInt8] {
        get throws {
            let data = try data
            var out = MarkupWriter()
            out.literal("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta http-equiv=\"Content-Security-Policy\" content=\"")
            out.raw(Array(Self.contentSecurityPolicy.utf8))
            out.literal(
                """
                ">
                <meta name="viewport" content="width=device-width, initial-scale=1">
                <meta name="color-scheme" content="light dark">
                <title>
                """)
            out.escaped(data.title)
            out.literal("</title>\n<style>")
            out.raw(Self.style)
            out.literal("</style>\n</head>\n<body class=\"report\">\n<h1 class=\"report-title\">")
            out.escaped(data.title)
            out.literal("</h1>\n<noscript><p>This page needs its script. Allow scripts for this file, and reload it.</p></noscript>\n")
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
            write("page", Array(try encoder.encode(data)), &out)
            writeStacks(&out)
            for (place, session) in sessions.enumerated() { writeCells(session, place, &out) }
            out.literal("<script>")
            out.raw(Self.script)
            out.literal("</script>\n</body>\n</html>\n")
            return out.bytes
        }
    }

    private func write(_ id: String, _ bytes: [UInt8], _ out: inout MarkupWriter) {
        out.literal("<script type=\"application/octet-stream\" id=\"")
        out.escaped(id)
        out.literal("\">")
        out.raw(base64(deflated(bytes)))
        out.literal("</script>\n")
    }

    /// Blocks `names`, `stacks` and for each session `samples-0` and so on.
    private func writeStacks(_ out: inout MarkupWriter) {
        guard !trie.callers.isEmpty else { return }
        let frames = trie.frames.indices.filter { !trie.isProcess[$0] }, processes = trie.frames.indices.filter { trie.isProcess[$0] }
        var options = FlamegraphOptions(title: "Flamegraph", subtitle: " ", countName: "samples")
        // The root stays where it is, below the words, however high a selection's graph is.
        options.inverted = true
        let names = ProfileNames(frames: frames.map { trie.frames[$0] }, processes: processes.map { trie.frames[$0] }, options)
        var placeOfFrame = [Int](repeating: 0, count: trie.frames.count)
        for (frame, place) in zip(frames, names.frames) { placeOfFrame[frame] = place }
        for (frame, place) in zip(processes, names.processes) { placeOfFrame[frame] = place }
        let order = Blocks.order(of: trie)
        write("names", names.json, &out)
        write("stacks", Blocks.stacks(trie, order: order, names: placeOfFrame), &out)
        for (place, session) in sessions.enumerated() {
            if let stacks = session.stacks { write("samples-\(place)", Blocks.samples(stacks, numbers: order.numbers), &out) }
        }
    }

    /// Blocks `cells-0-3-1`: session, command, phase.
    private func writeCells(_ session: ReportSession, _ place: Int, _ out: inout MarkupWriter) {
        for (number, command) in session.commands.enumerated() {
            for (phase, cells) in SessionData.sorted(command.phases).enumerated() {
                write("cells-\(place)-\(number)-\(phase)", Blocks.cells(cells.cells), &out)
            }
        }
    }

    private var data: PageData {
        get throws {
            let records = sessions.map(\.record)
            let titles = records.map(Self.title)
            let parts = zip(sessions, titles).map { session, title in
                SessionData(
                    session, title: title, facts: SessionFacts(record: session.record).all,
                    tables: SessionTables(record: session.record, lossMeaning: lossMeaning).all)
            }
            let title = titles.count == 2 ? (titles[0] == titles[1] ? "\(titles[0]): two sessions" : "\(titles[0]) and \(titles[1])") : titles.first ?? ""
            return PageData(
                title: title, sessions: parts, comparison: comparison.map { ComparisonData($0, records) },
                glossary: Glossary.terms.map { [$0.term, $0.meaning] }, version: version)
        }
    }

    private static func title(_ record: SessionRecord) -> String {
        let target = record.target
        let place = target.ports.isEmpty ? "" : " on port \(target.ports.map(String.init).joined(separator: ", "))"
        return shown(target.comm) + place + (target.container.map { " (\(shown($0)))" } ?? "")
    }
}
