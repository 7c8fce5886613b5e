import Glibc
import KilnSymbols
import KilnTargets
import SystemPackage

/// A program or library whose functions are meant.
struct FunctionFile: Equatable {
    /// To open it, and for uprobes: leads to the very file that the process has mapped, even if another one has its name now.
    let path: String
    /// For people: as the process names it.
    let name: String

    func functions() throws -> FunctionList {
        do {
            return try FunctionList(of: path, named: FilePath(name).lastComponent?.string)
        } catch {
            throw Failure("cannot read the functions of \(name): \(error is SymbolFileError ? "\(error)" : "\(error). Check the path, or run as root.")")
        }
    }
}

/// Finds the files of paths and of processes.
struct FunctionFiles {
    private(set) var files: [FunctionFile] = []
    private var known: Set<[UInt64]> = []

    /// A path, or the name of a program in PATH or of a library.
    mutating func add(path given: String) throws {
        if let found = Self.find(given) { return add(FunctionFile(path: found, name: found)) }
        throw Failure(
            given.contains("/")
                ? "cannot read \(given): \(errorText(errno))."
                : "neither PATH nor the folders of libraries have a file named \(given): give a path.")
    }

    /// The programs of processes, or libraries that they have loaded. Each file once.
    mutating func add(processes pids: [Int32], libraries: [String]) throws {
        var found: Set<String> = []
        for pid in pids {
            do {
                let exe = try ProcFS().process(pid).exe()
                if libraries.isEmpty {
                    add(FunctionFile(path: "/proc/\(pid)/exe", name: exe))
                    continue
                }
            } catch {
                let advice = error == .noSuchFileOrDirectory ? "It may have exited, or it is a thread of the kernel" : "Run as root"
                throw Failure("cannot read the program of pid \(pid): \(error). \(advice).")
            }
            for (path, opens) in openableCodeFiles(ofProcess: pid) {
                let matching = libraries.filter { Self.isLibrary(path, named: $0) }
                found.formUnion(matching)
                if !matching.isEmpty { add(FunctionFile(path: opens, name: path)) }
            }
        }
        if let missing = libraries.first(where: { !found.contains($0) }) {
            let loaded = Set(pids.flatMap { mappedCodeFiles(ofProcess: $0) }.compactMap { FilePath($0).lastComponent?.string }).sorted()
            throw Failure(
                "no process has loaded a library named \(missing); they have \(loaded.prefix(12).joined(separator: ", "))\(loaded.count > 12 ? " and others" : "")."
            )
        }
    }

    private mutating func add(_ file: FunctionFile) {
        var status = stat()
        if stat(file.path, &status) == 0, !known.insert([UInt64(status.st_dev), UInt64(status.st_ino)]).inserted { return }
        files.append(file)
    }

    /// Whether `libc` or `libc.so.6` names this path.
    static func isLibrary(_ path: String, named name: String) -> Bool {
        let file = FilePath(path).lastComponent?.string ?? ""
        return path == name || file == name || file.hasPrefix(name + ".so") || file.hasPrefix(name + "-") && file.contains(".so")
            || name.contains(where: "*?[".contains) && fnmatch(name, file, 0) == 0
    }

    /// A path as it is; without a slash, a program in PATH or a library. Nil: there is none, and errno says why.
    static func find(_ given: String) -> String? {
        if given.contains("/") { return access(given, R_OK) == 0 ? given : nil }
        for folder in (getenv("PATH").map { String(cString: $0) } ?? "").split(separator: ":") where access("\(folder)/\(given)", X_OK) == 0 {
            return "\(folder)/\(given)"
        }
        for folder in ["/lib/x86_64-linux-gnu", "/lib64", "/usr/lib", "/usr/local/lib"] {
            for version in ["", ".so.6", ".so"] where access("\(folder)/\(given)\(version)", R_OK) == 0 { return "\(folder)/\(given)\(version)" }
        }
        return nil
    }
}
