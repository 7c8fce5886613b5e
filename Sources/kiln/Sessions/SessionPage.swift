import FoundationEssentials
import Glibc
import KilnKernel
import KilnModel
import KilnReport
import KilnSessions
import SystemPackage

/// The page of a session, HTML.
func reportPage(of files: some SessionFiles) throws -> [UInt8] {
    var trie = StackTrie()
    let session = try ReportSession(files, into: &trie)
    return try ReportPage(session, trie: trie, version: kilnVersion, lossMeaning: lossMeaning).html
}

/// The page of two sessions beside each other, with what moved.
func reportPage(of first: String, and second: String) throws -> [UInt8] {
    var trie = StackTrie()
    let sessions = try [first, second].map { try ReportSession(DirectoryFiles(place: $0), into: &trie, keepsRows: true) }
    let (before, after) = (sessions[0], sessions[1])
    let comparison = before.rows.isEmpty || after.rows.isEmpty ? nil : SessionComparison(before.recorded, after.recorded)
    return try ReportPage(before: before, after: after, comparison, trie: trie, version: kilnVersion, lossMeaning: lossMeaning).html
}

/// A session's directory, by its path.
struct DirectoryFiles: SessionFiles {
    let place: String

    /// The paths of all files but pages: a page must not replace what it is made from.
    var inputs: [String] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: place)) ?? []
        return names.filter { !$0.hasSuffix(".html") }.map { "\(place)/\($0)" }
    }

    func read(_ name: String, _ piece: (UnsafeRawBufferPointer) throws -> Void) throws -> Bool {
        let path = "\(place)/\(name)"
        if try readSessionFile(path, in: AT_FDCWD, shownAs: path, piece) { return true }
        guard access(place, F_OK) == 0 else { throw Failure("cannot read \(path): \(errorText(ENOENT)). Give a directory that a session of kiln wrote.") }
        let sessions = name == "session.json" ? sessionsBelow : []
        guard sessions.isEmpty else {
            throw Failure("cannot read \(path): the sessions are in directories below \(place). Give one of them: \(sessions.joined(separator: ", ")).")
        }
        return false
    }

    /// The directories of sessions in this one: of several targets each has its own.
    private var sessionsBelow: [String] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: place)) ?? []
        return names.map { "\(place)/\($0)" }.filter { access("\($0)/session.json", F_OK) == 0 }.sorted()
    }
}

extension SessionDirectory: SessionFiles {
    var place: String { path.string }

    /// The end of a session shouldn't take minutes. In bytes of rows.
    private static let mostBytesOfPage = 1 << 30

    /// Writes report.html from the files that are there. Of a very long session it says instead how to make it.
    func writePage() throws {
        guard size(of: "commands.jsonl") + size(of: "samples.jsonl") <= Self.mostBytesOfPage else {
            return say("kiln: \(path): report.html is not made, because the session is long. Make it with kiln report --html \(path).")
        }
        do {
            try write(reportPage(of: self), to: "report.html")
        } catch let error as ReportError {
            throw Failure("cannot make \(path)/report.html: \(error)")
        }
    }
}
