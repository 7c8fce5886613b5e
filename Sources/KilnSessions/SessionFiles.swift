/// The files of a session's directory.
public protocol SessionFiles {
    /// The directory, as messages name it.
    var place: String { get }
    /// Reads a file piece by piece. Returns false if there is none of this name; throws if it can't be read.
    func read(_ name: String, _ piece: (UnsafeRawBufferPointer) throws -> Void) throws -> Bool
}

/// Why a session can't be shown.
public struct ReportError: Error, CustomStringConvertible {
    public let description: String

    public init(_ description: String) { self.description = description }
}

extension SessionFiles {
    /// Longer lines are no lines of kiln: one of samples.jsonl has an interval's stacks.
    private var longestLine: Int { 1 << 26 }

    /// Calls `line` for each line of a file of JSON lines; it throws `JSONScanner.Damage` where it can't read one. The last line of a session that was
    /// killed may be incomplete, and is left out if it has no end.
    ///
    /// - Returns: False if there is no such file.
    func forEachLine(of name: String, _ line: (inout JSONScanner) throws -> Void) throws -> Bool {
        var number = 0
        var rest: [UInt8] = []
        func scan(_ text: UnsafeRawBufferPointer) throws {
            var scanner = JSONScanner(text)
            try line(&scanner)
            try scanner.end()
        }
        func whole(_ text: UnsafeRawBufferPointer) throws {
            number += 1
            if text.allSatisfy({ $0 == 0x20 || $0 == 0x0d }) { return }
            do { try scan(text) } catch let damage as JSONScanner.Damage { throw self.damage(name, number, damage.reason) }
        }
        let exists = try read(name) { piece in
            var first = piece.startIndex
            while let end = piece[first...].firstIndex(of: UInt8(ascii: "\n")) {
                let part = UnsafeRawBufferPointer(rebasing: piece[first..<end])
                if rest.isEmpty {
                    try whole(part)
                } else {
                    rest.append(contentsOf: part)
                    try rest.withUnsafeBytes(whole)
                    rest.removeAll(keepingCapacity: true)
                }
                first = end + 1
            }
            rest.append(contentsOf: piece[first...])
            if rest.count > longestLine { throw damage(name, number + 1, "the line is longer than \(longestLine >> 20) MiB") }
        }
        do { if !rest.isEmpty { try rest.withUnsafeBytes(scan) } } catch is JSONScanner.Damage {}
        return exists
    }

    func damage(_ name: String, _ line: Int, _ reason: String) -> ReportError {
        ReportError("cannot read \(place)/\(name), line \(line): \(reason). Give a directory that this version of kiln wrote.")
    }

    /// A whole file; nil if there is none. For files that are small.
    func contents(_ name: String) throws -> [UInt8]? {
        var bytes: [UInt8] = []
        return try read(name) { bytes += $0 } ? bytes : nil
    }
}
