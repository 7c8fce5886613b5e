import KilnModel
import KilnSymbols
import PrintableText
import SystemPackage

/// `kiln functions --list`: what can be probed, and what can't.
struct FunctionListing {
    let chosen: ChosenFunctions

    /// Lines are written some at a time: a browser has a million functions.
    private static let linesAtOnce = 4096

    func write(to output: Output, json: Bool) throws {
        try json ? writeJSON(to: output) : writeText(to: output)
        for remark in chosen.remarks { say("kiln: \(remark)") }
        if chosen.kernelIsUnsure {
            say("kiln: the kernel's list of functions that it probes (available_filter_functions) can't be read: of these of /proc/kallsyms, it refuses some.")
        }
    }

    // MARK: - Text

    private func writeText(to output: Output) throws {
        let rows = rows
        var widths = [7, 4, 4]
        for row in rows {
            for column in 0..<3 { widths[column] = max(widths[column], row.cells[column].count) }
        }
        func line(_ cells: [String], _ name: String) -> String {
            "\(cells[0].paddedLeft(to: widths[0]))  \(cells[1].paddedLeft(to: widths[1]))  \(cells[2].padded(to: widths[2]))  \(name)"
        }
        var lines = [Line(bold: line(["address", "size", "file"], "function"))]
        for row in rows {
            lines.append(Line(line(row.cells, row.reason.map { "\(row.name): \($0)" } ?? row.name)))
            if lines.count == Self.linesAtOnce {
                try output.write(lines)
                lines = []
            }
        }
        try output.write(lines)
        say(summary)
    }

    private struct Row {
        /// Address, size, file.
        let cells: [String]
        let name: String
        var reason: String?
    }

    private var rows: [Row] {
        var rows: [Row] = []
        for part in chosen.files {
            let file = part.list.fileName.printable
            let names = part.functions.distinctNames
            for (function, name) in zip(part.functions, names) {
                let reason = function.obstacle.map { "not probed, it \($0)" } ?? part.returnProblem(of: function).map { "counted, not timed: \($0)" }
                rows.append(
                    Row(cells: [hexadecimal(function.address), function.size.map { String($0) } ?? "", file], name: name, reason: reason))
            }
            rows += part.staticProbes.map {
                Row(cells: [part.list.address(ofFileOffset: $0.offset).map(hexadecimal) ?? "", "", file], name: "usdt:\($0.provider):\($0.name)")
            }
        }
        rows += chosen.kernel.map { Row(cells: [$0.address.map(hexadecimal) ?? "", "", $0.module.printable], name: "kernel:\($0.name)") }
        return rows
    }

    private var summary: [Line] {
        chosen.files.filter { !$0.functions.isEmpty }.map { part in
            let refused = part.functions.compactMap(\.obstacle?.kind)
            let counts = Dictionary(grouping: refused) { $0 }.mapValues(\.count).sorted { ($1.value, $0.key) < ($0.value, $1.key) }
            var text =
                "\(part.file.name): \(counted(part.functions.count, "function")), \(grouped(UInt64(part.functions.count - refused.count))) of them can be probed"
            if !counts.isEmpty { text += "; not: " + counts.map { "\(grouped(UInt64($0.value))) \($0.key)" }.joined(separator: ", ") }
            return Line(text)
        }
    }

    private func counted(_ count: Int, _ word: String) -> String { "\(grouped(UInt64(count))) \(word)\(count == 1 ? "" : "s")" }

    private func hexadecimal(_ number: UInt64) -> String { "0x" + String(number, radix: 16) }

    // MARK: - JSON

    private func writeJSON(to output: Output) throws {
        var records: [FunctionRecord] = []
        func flush(beyond count: Int) throws {
            guard records.count > count else { return }
            try output.write(jsonLines(records))
            records = []
        }
        for part in chosen.files {
            for function in part.functions {
                var record = FunctionRecord(function, file: part.file.name)
                record.reason_not_timed = part.returnProblem(of: function)?.description
                records.append(record)
                try flush(beyond: Self.linesAtOnce)
            }
            records += part.staticProbes.map { FunctionRecord($0, file: part.file.name, address: part.list.address(ofFileOffset: $0.offset)) }
        }
        records += chosen.kernel.map { FunctionRecord($0, isSure: !chosen.kernelIsUnsure) }
        try flush(beyond: 0)
    }
}

extension ChosenFunctions.OfFile {
    /// Functions are timed at their return instructions, if these are known.
    func returnProblem(of function: FunctionList.Function) -> ReturnPlacesError? {
        guard function.obstacle == nil else { return nil }
        do throws(ReturnPlacesError) {
            _ = try list.returnPlaces(of: function)
            return nil
        } catch {
            return error
        }
    }
}

extension [FunctionList.Function] {
    /// A name for each, which no other one has: for people; with parameters, or with its address, where that is needed.
    var distinctNames: [String] {
        func counts(_ names: [String]) -> [String: Int] { names.reduce(into: [:]) { $0[$1, default: 0] += 1 } }
        let texts = map(\.text), times = counts(texts)
        let longer = zip(self, texts).map { times[$1, default: 0] > 1 ? $0.signature : $1 }, again = counts(longer)
        return zip(self, longer).map { again[$1, default: 0] > 1 ? "\($1) at 0x\(String($0.address, radix: 16))" : $1 }
    }
}

/// A line of `kiln functions --list --json`.
struct FunctionRecord: Encodable {
    /// For people.
    var name: String
    /// The linker's name.
    var symbol: String?
    /// Other symbols at the same place.
    var aliases: [String]?
    /// As linked.
    var address: UInt64?
    /// In the file.
    var offset: UInt64?
    var size_bytes: UInt64?
    /// The path of a file, or the name of a module of the kernel.
    var file: String
    /// `function`, `static probe` or `kernel function`.
    var kind: String
    /// How it is known.
    var known_by: String?
    /// Absent: only the kernel knows.
    var can_be_probed: Bool?
    /// Why not: what the function is or does.
    var reason: String?
    /// Why its calls can be counted, but their time can't be measured.
    var reason_not_timed: String?

    init(_ function: FunctionList.Function, file: String) {
        name = function.signature
        symbol = function.source == .callFrames ? nil : function.name
        let others = function.names.filter { $0 != function.name }
        aliases = others.isEmpty ? nil : others
        address = function.address
        offset = function.obstacle == .outsideCode ? nil : function.offset
        size_bytes = function.size
        self.file = file
        kind = "function"
        known_by = function.source.rawValue
        can_be_probed = function.obstacle == nil
        reason = function.obstacle?.description
    }

    init(_ probe: ProbePlaces.StaticProbe, file: String, address: UInt64?) {
        name = "\(probe.provider):\(probe.name)"
        self.address = address
        offset = probe.offset
        self.file = file
        kind = "static probe"
        can_be_probed = true
    }

    init(_ function: KernelFunctions.Function, isSure: Bool) {
        name = function.name
        address = function.address
        file = function.module
        kind = "kernel function"
        can_be_probed = isSure ? true : nil
    }
}
