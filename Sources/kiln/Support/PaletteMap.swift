import Glibc

/// The file of colours that `--cp` keeps in the current directory, with one line `name->rgb(red,green,blue)` for each name.
struct PaletteMap {
    static let file = "palette.map"
    private(set) var colors: [String: UInt32] = [:]

    /// Reads the file, if it exists.
    init() throws {
        guard access(Self.file, F_OK) == 0 else { return }
        var text: [UInt8] = []
        try readPieces(of: Self.file, "colours, as --cp writes it") { text.append(contentsOf: $0) }
        for (index, line) in text.split(separator: UInt8(ascii: "\n")).enumerated() {
            guard let (name, color) = Self.parse(String(decoding: line, as: UTF8.self)) else {
                throw Failure("\(Self.file): line \(index + 1) is not a colour. Remove the file, or write `name->rgb(255,0,0)`.")
            }
            colors[name] = color
        }
    }

    func write(_ colors: [(name: String, color: UInt32)]) throws {
        var all = self.colors
        for (name, color) in colors { all[name] = color }
        let lines = all.sorted { $0.key < $1.key }.map { name, color in
            "\(name.replacing("\n", with: " "))->rgb(\(color >> 16 & 255),\(color >> 8 & 255),\(color & 255))\n"
        }
        try writePieces(to: Self.file) { try $0(Array(lines.joined().utf8)) }
    }

    private static func parse(_ line: String) -> (String, UInt32)? {
        guard line.hasSuffix(")"), let arrow = line.ranges(of: "->rgb(").last else { return nil }
        let parts = line[arrow.upperBound...].dropLast().split(separator: ",", omittingEmptySubsequences: false)
        let numbers = parts.compactMap { UInt8(String($0).filter { $0 != " " }) }
        guard parts.count == 3, numbers.count == 3 else { return nil }
        return (String(line[..<arrow.lowerBound]), numbers.reduce(0) { $0 << 8 | UInt32($1) })
    }
}
