import Glibc
import KilnSymbols
import KilnTargets

/// The functions that a person named, in all places: of files, of the kernel, and static probes.
struct ChosenFunctions {
    struct OfFile {
        let file: FunctionFile
        let list: FunctionList
        /// By address; those that can't be probed, too.
        let functions: [FunctionList.Function]
        /// A static probe may have several places.
        let staticProbes: [ProbePlaces.StaticProbe]
    }

    private(set) var files: [OfFile] = []
    private(set) var kernel: [KernelFunctions.Function] = []
    /// The kernel doesn't say which of its functions it probes.
    private(set) var kernelIsUnsure = false
    /// Lines for people: patterns that nothing matches, names that can't be read.
    private(set) var remarks: [String] = []

    var isEmpty: Bool { kernel.isEmpty && files.allSatisfy { $0.functions.isEmpty && $0.staticProbes.isEmpty } }

    /// Reads the files and chooses. Throws a `Failure` if nothing is there by these names.
    ///
    /// - Parameters:
    ///   - pids: Of the targets; their programs, or the libraries of --lib. Empty: the first argument is a file.
    ///   - program: Of a command that is about to start.
    init(_ options: FunctionPatternOptions, pids: [Int32] = [], program: String? = nil) throws {
        var names = options.arguments, files = FunctionFiles()
        let isKernelOnly = !names.isEmpty && names.allSatisfy { $0.hasPrefix(Self.kernelPrefix) }
        if !pids.isEmpty {
            if !isKernelOnly { try files.add(processes: pids, libraries: options.lib) }
        } else if let program {
            for file in options.lib.isEmpty ? [program] : options.lib where !isKernelOnly { try files.add(path: file) }
        } else if !isKernelOnly {
            guard !names.isEmpty else { throw Failure("no file is given: give a PATH, --pid, --comm, or a command behind --.", status: 64) }
            let path = names.removeFirst()
            guard options.lib.isEmpty else {
                throw Failure("--lib chooses among the libraries of a process: give --pid or --comm instead of \(path).", status: 64)
            }
            try files.add(path: path)
        }
        let kernelNames = names.filter { $0.hasPrefix(Self.kernelPrefix) }.map { String($0.dropFirst(Self.kernelPrefix.count)) }
        let probeNames = names.filter { $0.hasPrefix(Self.staticPrefix) }.map { String($0.dropFirst(Self.staticPrefix.count)) }
        let plain = names.filter { !$0.hasPrefix(Self.kernelPrefix) && !$0.hasPrefix(Self.staticPrefix) }
        func patterns(_ names: [String]) throws -> FunctionPatterns {
            do {
                return try FunctionPatterns(names, excluding: options.exclude, isRegex: options.regex)
            } catch {
                throw Failure("cannot choose functions: \(error)", status: 64)
            }
        }
        try chooseInFiles(files.files, try patterns(plain), wantsFunctions: !plain.isEmpty || names.isEmpty, try patterns(probeNames))
        if !kernelNames.isEmpty { try chooseInKernel(try patterns(kernelNames)) }
        if isEmpty { throw Failure(remarks.isEmpty ? "nothing is left to probe: --exclude takes all." : remarks.joined(separator: " ")) }
    }

    private static let kernelPrefix = "kernel:"
    private static let staticPrefix = "usdt:"

    private mutating func chooseInFiles(
        _ found: [FunctionFile], _ patterns: FunctionPatterns, wantsFunctions: Bool, _ probePatterns: FunctionPatterns
    ) throws {
        var unmatched = Set(patterns.included), unmatchedProbes = Set(probePatterns.included)
        for file in found {
            let list = try file.functions()
            let selection = wantsFunctions ? list.select(patterns) : nil
            unmatched.formIntersection(selection?.unmatched ?? [])
            var probes: [ProbePlaces.StaticProbe] = []
            if !probePatterns.included.isEmpty {
                var matched: Set<Int> = []
                probes = list.staticProbes.filter { probePatterns.choose(["\($0.provider):\($0.name)"], matched: &matched) != nil }
                for number in matched { unmatchedProbes.remove(probePatterns.included[number]) }
            }
            if let problem = list.problem { remarks.append("some functions of \(file.name) may have no name: \(problem)") }
            files.append(OfFile(file: file, list: list, functions: selection?.functions ?? [], staticProbes: probes))
        }
        let names = found.map(\.name).joined(separator: ", ")
        for pattern in patterns.included where unmatched.contains(pattern) { remarks.append(nothing(named: pattern, in: names)) }
        for pattern in probePatterns.included where unmatchedProbes.contains(pattern) {
            let all = Set(files.flatMap { $0.list.staticProbes.map { "\($0.provider):\($0.name)" } }).sorted()
            remarks.append(
                all.isEmpty
                    ? "\(names) has no static probes (USDT)."
                    : "\(names) has no static probe \(pattern); it has \(all.prefix(5).joined(separator: ", "))\(all.count > 5 ? " and others" : "").")
        }
    }

    private func nothing(named pattern: String, in file: String) -> String {
        let all = Set(
            files.flatMap { file in (0..<file.list.count).flatMap { file.list.function($0).names.flatMap { [$0] + (demangled($0).map { [$0] } ?? []) } } })
        let near = nearNames(to: pattern, among: all)
        return "\(file) has no function \(pattern)" + (near.isEmpty ? "." : "; near: \(near.joined(separator: ", ")).")
    }

    private mutating func chooseInKernel(_ patterns: FunctionPatterns) throws {
        let functions: KernelFunctions
        do { functions = try KernelFunctions() } catch { throw Failure("\(error)") }
        var matched: Set<Int> = []
        kernel = functions.functions.filter { patterns.choose([$0.name], matched: &matched) != nil }
        kernelIsUnsure = !functions.areKnownAsProbeable && !kernel.isEmpty
        for number in patterns.included.indices where !matched.contains(number) {
            remarks.append("the kernel has no function \(patterns.included[number]).")
        }
    }
}

extension FunctionPatternOptions {
    /// The running processes with these names.
    static func pids(named names: [String]) throws -> [Int32] {
        var found: [Int32] = [], missing = Set(names)
        for pid in (try? ProcFS().pids()) ?? [] {
            guard let name = try? ProcFS().process(pid).comm(), names.contains(name) else { continue }
            found.append(pid)
            missing.remove(name)
        }
        if let name = missing.min() { throw Failure("no process is named \(name): `ps -eo pid,comm` lists them.") }
        return found
    }
}
