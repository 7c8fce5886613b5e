import Glibc
import SystemPackage

/// The names of a process's just-in-time compiled code, from /tmp/perf-PID.map, with the pid and /tmp of the process's own namespaces. Read
/// at the first lookup and after each `forget()`, because compilers extend the map.
final class GeneratedFunctions {
    private let path: String
    private let tree: FileTree?
    /// The users whose map is trusted, besides root.
    private let users: Set<UInt32>
    private var map: Result<PerfMap?, SymbolFileError>?
    /// The file when it last existed: a container's /tmp ends with its last process.
    private var file: OpenFile?
    /// As it was at the last comparison.
    private var compared: FileIdentity?
    /// The functions at the addresses that were compared.
    private var known: [UInt64: PerfMap.Match] = [:]
    /// The functions that were there before, and up to which comparison; in order.
    private var former: [UInt64: [(before: UInt64, match: PerfMap.Match)]] = [:]

    /// `process`: the process's directory in /proc.
    init(of process: FileDescriptor, in tree: FileTree?) {
        self.tree = tree
        let lines = Self.text(ofStatus: process).split(separator: "\n")
        func numbers(_ field: String) -> [UInt32] {
            guard let line = lines.first(where: { $0.hasPrefix(field + ":") }) else { return [] }
            return line.dropFirst(field.count + 1).split(whereSeparator: \.isWhitespace).compactMap { UInt32($0) }
        }
        // NStgid has the process's pid in each namespace, the innermost last (proc(5)), in the directory of a thread, too.
        path = numbers("NStgid").last.map { "/tmp/perf-\($0).map" } ?? ""
        users = Set(numbers("Uid") + [0])
        try? open()
    }

    private static func text(ofStatus process: FileDescriptor) -> String {
        do {
            let file = try OpenFile(at: process, "status")
            return String(decoding: try file.descriptor.readToEnd(), as: UTF8.self)
        } catch {
            return ""
        }
    }

    func forget() {
        map = nil
        if file == nil { try? open() }
    }

    enum Answer {
        case named(PerfMap.Match)
        case unnamed(UnknownReason)
        /// The process's compiler writes no map, or it has no compiler.
        case noMap
    }

    /// Whether the compiler has written to its map since the last comparison.
    func hasChanged() -> Bool {
        guard file != nil else { return false }
        try? open()
        guard let file = file.take() else { return false }
        var status = stat()
        let isThere = fstat(file.descriptor.rawValue, &status) == 0
        self.file = consume file
        return isThere && FileIdentity(of: status) != compared
    }

    /// Reads the map anew. Returns at which of the addresses another function is now than at the last comparison. The former ones stay known, as
    /// those before the comparison with this number; numbers grow.
    func compare(_ addresses: Set<UInt64>, number: UInt64) -> Set<UInt64> {
        map = nil
        var replaced: Set<UInt64> = []
        for address in addresses {
            guard case .named(let match) = function(at: address) else { continue }
            if let old = known[address], old.name != match.name {
                former[address, default: []].append((number, old))
                replaced.insert(address)
            }
            known[address] = match
        }
        if let file = file.take() {
            var status = stat()
            if fstat(file.descriptor.rawValue, &status) == 0 { compared = FileIdentity(of: status) }
            self.file = consume file
        }
        return replaced
    }

    /// `comparison`: the function that was there before it; nil: the last one.
    func function(at address: UInt64, before comparison: UInt64? = nil) -> Answer {
        if let comparison, let past = former[address]?.first(where: { $0.before >= comparison }) { return .named(past.match) }
        let map = self.map ?? Result { () throws(SymbolFileError) in try read() }
        self.map = map
        switch map {
        case .failure(let error): return .unnamed(.unusableMap(error))
        case .success(nil): return .noMap
        case .success(let map?):
            return map.function(at: address).map { .named($0) } ?? .unnamed(.noGeneratedFunction(isCut: map.isCut))
        }
    }

    /// Opens the file that has the name now, if there is one.
    private func open() throws(SymbolFileError) {
        guard let tree, !path.isEmpty else { return }
        do throws(SymbolFileError) {
            file = try tree.open(path, ownedBy: users)
        } catch {
            if case .unreadable(.noSuchFileOrDirectory) = error.problem { return }
            throw failure(error.problem)
        }
    }

    private func read() throws(SymbolFileError) -> PerfMap? {
        try open()
        guard let file = file.take() else { return nil }
        let map = Result { () throws(Errno) in try PerfMap(reading: file.descriptor) }
        self.file = consume file
        return try map.mapError { failure(.unreadable($0)) }.get()
    }

    private func failure(_ problem: SymbolFileError.Problem) -> SymbolFileError {
        SymbolFileError(file: (tree?.name ?? "") + path, problem: problem, reading: .generatedFunctions)
    }
}
