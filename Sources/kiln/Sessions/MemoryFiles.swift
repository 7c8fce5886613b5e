import KilnModel
import KilnSessions

/// The files of a session that were never written.
struct MemoryFiles: SessionFiles {
    let record: SessionRecord
    let samples: SampleRecords?
    /// By name.
    let rows: [String: [UInt8]]

    init(_ record: SessionRecord, _ samples: SampleRecords?, rows: [String: [UInt8]] = [:]) {
        self.record = record
        self.samples = samples
        self.rows = rows
    }

    var place: String { "the session" }

    func read(_ name: String, _ piece: (UnsafeRawBufferPointer) throws -> Void) throws -> Bool {
        switch name {
        case "session.json": try SessionDirectory.text(of: record).withUnsafeBytes(piece)
        case SessionDirectory.samples:
            guard let samples else { return false }
            try samplesText(samples).withUnsafeBytes(piece)
        default:
            guard let text = rows[name] else { return false }
            try text.withUnsafeBytes(piece)
        }
        return true
    }
}
