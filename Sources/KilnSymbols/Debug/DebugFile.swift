import CElfutils
import Glibc
import SystemPackage

/// A separate file with stripped debugging information, open and verified to belong to its program or library.
final class DebugFile {
    let elf: ElfFile
    /// In its tree.
    let path: String
    // After `elf`, which reads from it.
    private let file: OpenFile

    init(_ file: consuming OpenFile, at path: String, named name: String) throws(SymbolFileError) {
        elf = try ElfFile(reading: file.descriptor, named: name)
        self.path = path
        self.file = file
    }

    var descriptor: FileDescriptor { file.descriptor }
}

/// Looks for debug files in the file trees of the process and of the host, in the places on which debuggers and distributions agree
/// (https://sourceware.org/gdb/current/onlinedocs/gdb.html/Separate-Debug-Files.html).
///
/// A file is used only if its build ID, or the checksum over the whole file, proves that it belongs. Line numbers and names of another
/// build would be plausible and wrong.
struct DebugFileSearch {
    /// The trees in the order of the search, each once.
    let trees: [FileTree]
    /// Nil: none is to be asked.
    private let servers: DebugFileServers?

    init(process: FileTree?, host: FileTree?, servers: DebugFileServers? = nil) {
        var trees: [FileTree] = []
        for tree in [process, host] {
            if let tree, !trees.contains(where: tree.isSame) { trees.append(tree) }
        }
        self.trees = trees
        self.servers = servers
    }

    /// Servers may be asked, if not now, then later.
    var hasServers: Bool { servers != nil }

    enum Result {
        case found(DebugFile)
        case none
        /// There are files in these places, but none is usable. The problem of the first one.
        case refused(SymbolFileError)
    }

    /// The debug file of an ELF file with this path in the process.
    func debugFile(of elf: borrowing ElfFile, at path: String) -> Result {
        var refused: SymbolFileError?
        if let buildID = try? elf.buildID() {
            for tree in trees {
                let found = Self.open(buildID.debugPath, in: tree, &refused)
                if let found, Self.has(buildID, found, &refused) { return .found(found) }
            }
        }
        if let link = try? elf.debugLink() {
            let directory = String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)])
            for tree in trees {
                for place in [directory, directory + "/.debug", "/usr/lib/debug" + directory] {
                    let candidate = place + "/" + link.fileName
                    // A program's debug link may name a file like the program itself, in another directory.
                    if candidate == path { continue }
                    let found = Self.open(candidate, in: tree, &refused)
                    if let found, Self.has(link.checksum, found, &refused) { return .found(found) }
                }
            }
        }
        return refused.map { .refused($0) } ?? .none
    }

    /// The debug file that a server has of an ELF file.
    func fetchedDebugFile(of elf: borrowing ElfFile) -> Result {
        guard let servers, let buildID = try? elf.buildID() else { return .none }
        var refused: SymbolFileError?
        if let found = Self.fetch(buildID, for: elf.name, servers, &refused) { return .found(found) }
        return refused.map { .refused($0) } ?? .none
    }

    private static func fetch(_ buildID: BuildID, for name: String, _ servers: DebugFileServers, _ refused: inout SymbolFileError?) -> DebugFile? {
        guard let path = servers.debugFile(buildID, of: name) else { return nil }
        do throws(SymbolFileError) {
            let file: OpenFile
            do throws(Errno) {
                file = try OpenFile(at: FileDescriptor(rawValue: AT_FDCWD), path)
            } catch {
                throw SymbolFileError(file: path, problem: .unreadable(error))
            }
            let found = try DebugFile(file, at: path, named: path)
            return has(buildID, found, &refused) ? found : nil
        } catch {
            refused = refused ?? error
            return nil
        }
    }

    /// The file with the parts that several debug files share (dwz).
    func sharedDebugFile(of debug: borrowing ElfFile) -> DebugFile? {
        guard let link = try? debug.sharedDebugLink() else { return nil }
        var refused: SymbolFileError?
        for tree in trees {
            for path in [link.buildID.debugPath, link.path] where path.hasPrefix("/") {
                let found = Self.open(path, in: tree, &refused)
                if let found, Self.has(link.buildID, found, &refused) { return found }
            }
        }
        return servers.flatMap { Self.fetch(link.buildID, for: debug.name, $0, &refused) }
    }

    private static func open(_ path: String, in tree: FileTree, _ refused: inout SymbolFileError?) -> DebugFile? {
        do throws(SymbolFileError) {
            return try DebugFile(tree.open(path), at: path, named: tree.name + path)
        } catch {
            switch error.problem {
            case .unreadable(.noSuchFileOrDirectory), .unreadable(.notDirectory): break
            default: refused = refused ?? error
            }
            return nil
        }
    }

    private static func has(_ buildID: BuildID, _ debug: DebugFile, _ refused: inout SymbolFileError?) -> Bool {
        let own: BuildID?
        do throws(SymbolFileError) {
            own = try debug.elf.buildID()
        } catch {
            refused = refused ?? error
            return false
        }
        if own == buildID { return true }
        let problem = SymbolFileError.Problem.otherBuild(
            expected: "build ID \(buildID)", found: own.map { "build ID \($0)" } ?? "no build ID")
        refused = refused ?? SymbolFileError(file: debug.elf.name, problem: problem)
        return false
    }

    private static func has(_ expected: UInt32, _ debug: DebugFile, _ refused: inout SymbolFileError?) -> Bool {
        let problem: SymbolFileError.Problem
        do throws(Errno) {
            let found = try checksum(of: debug.descriptor)
            if found == expected { return true }
            let texts = [expected, found].map { "checksum " + String($0, radix: 16) }
            problem = .otherBuild(expected: texts[0], found: texts[1])
        } catch {
            problem = .unreadable(error)
        }
        refused = refused ?? SymbolFileError(file: debug.elf.name, problem: problem)
        return false
    }
}
