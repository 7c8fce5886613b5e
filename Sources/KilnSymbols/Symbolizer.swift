import Glibc
import SystemPackage

/// Why a process can't be symbolized.
public enum SymbolizerError: Error, Equatable, Sendable {
    case noSuchProcess(pid: Int32)
    case inaccessible(pid: Int32, Errno)
    case unknownMaps(pid: Int32, MappingsError)
}

extension SymbolizerError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .noSuchProcess(let pid):
            "cannot symbolize process \(pid): it does not exist. It may have exited already; check the pid."
        case .inaccessible(let pid, let errno):
            "cannot symbolize process \(pid): reading /proc/\(pid)/maps: \(errno). Run as root, or grant CAP_SYS_PTRACE."
        case .unknownMaps(let pid, let error):
            "cannot symbolize process \(pid): \(error)"
        }
    }
}

/// Names the user-space frames of one process.
///
/// `init` and `refresh()` read the mappings and open their files. Symbols are read from the files, and from their debug files, at the first
/// address in them. Everything seen once can still be symbolized after the process has unmapped it, executed another program, or exited.
///
/// Not thread-safe.
public final class Symbolizer {
    public enum Liveness: Equatable, Sendable {
        case running
        /// The process has ended. Its frames can still be symbolized.
        case exited
    }

    public let pid: Int32
    /// Of the process, or of a thread of it whose memory is still there. Stays with it: once it has exited, reads fail even if the pid is in use again.
    private var directory: OpenFile
    private let store: SymbolStore
    /// The files as the process sees them; nil if kiln has no access.
    private let tree: FileTree?
    private let generated: GeneratedFunctions
    private(set) var layers = CodeLayers()
    private var code: CodeMap { layers.code }
    /// The names of Python's functions, if the process runs a Python that is known.
    public private(set) var python: PythonFunctions?

    /// `startStack`: the start of the stack of the intended execution. A process with another one is treated as ended.
    public init(pid: Int32, startStack: UInt64? = nil, sharing store: SymbolStore = SymbolStore()) throws(SymbolizerError) {
        self.pid = pid
        self.store = store
        do throws(Errno) {
            let proc = try OpenFile(at: FileDescriptor(rawValue: AT_FDCWD), "/proc", options: O_DIRECTORY)
            let leader = try OpenFile(at: proc.descriptor, String(pid), options: O_DIRECTORY)
            if let thread = Self.livingThread(of: leader.descriptor) { directory = thread } else { directory = leader }
        } catch {
            throw error == .noSuchFileOrDirectory ? .noSuchProcess(pid: pid) : .inaccessible(pid: pid, error)
        }
        tree = try? FileTree(at: directory.descriptor, "root", named: "/proc/\(pid)/root")
        generated = GeneratedFunctions(of: directory.descriptor, in: tree)
        if try refresh() == .exited { throw .noSuchProcess(pid: pid) }
        // Checked after the mappings, so that they belong to this execution.
        if let startStack, startStack != stackStart() { throw .noSuchProcess(pid: pid) }
    }

    /// `startstack` of proc(5); nil if it can't be read.
    private func stackStart() -> UInt64? {
        guard let file = try? OpenFile(at: directory.descriptor, "stat"), let bytes = try? file.descriptor.readToEnd() else { return nil }
        // The second field, the name, may contain blanks and parentheses; startstack is the 28th field.
        let behindName = String(decoding: bytes, as: UTF8.self).split(separator: ")").last ?? ""
        let fields = behindName.split { $0 == " " || $0 == "\n" }
        return fields.count > 25 ? UInt64(fields[25]) : nil
    }

    /// Reads the mappings again and adds new ones. Takes about as long as reading /proc/PID/maps; known files are not opened again.
    @discardableResult
    public func refresh() throws(SymbolizerError) -> Liveness {
        let bytes: [UInt8]
        do throws(Errno) {
            if let thread = Self.livingThread(of: directory.descriptor) { directory = thread }
            bytes = try Self.maps(of: directory.descriptor)
        } catch {
            if error == .noSuchProcess || error == .noSuchFileOrDirectory { return .exited }
            throw .inaccessible(pid: pid, error)
        }
        let mappings: ProcessMappings
        do throws(MappingsError) {
            mappings = try ProcessMappings(parsing: bytes)
        } catch {
            throw .unknownMaps(pid: pid, error)
        }
        var current: [PlacedCode] = []
        // Read for new mappings only; another program may have been executed.
        lazy var executed = ExecutedName(of: directory.descriptor)
        for mapping in mappings.mappings where mapping.permissions.contains(.execute) {
            current.append(known(mapping) ?? PlacedCode(mapping: mapping, source: source(of: mapping), executed: executed))
        }
        // A zombie still has its directory in /proc, but no memory.
        if current.isEmpty && !code.isEmpty { return .exited }
        layers.place(current, number: store.takeNumber)
        generated.forget()
        findPython()
        return .running
    }

    /// What a mapping had at the last refresh, if it is still that.
    private func known(_ mapping: Mapping) -> PlacedCode? {
        guard let placed = code.placement(of: mapping) else { return nil }
        // A new file may have the inode number of a deleted one, and a file may be written anew.
        if case .file(let file) = placed.source, let identity = file.identity,
            let now = SymbolStore.identity(behind: mapping, process: directory.descriptor), now != identity
        {
            return nil
        }
        return placed
    }

    /// Code of a program that the process has replaced may still be known: the first interpreter counts whose version the process's memory confirms.
    private func findPython() {
        for piece in code.pieces {
            guard case .file(let file) = piece.source, let symbols = file.pythonSymbols(), let memory = try? OpenFile(at: directory.descriptor, "mem"),
                let found = PythonInterpreter(symbols, bias: ExecutableMapping(piece).bias, memory: memory.descriptor)
            else { continue }
            if found.layout.first_interpreter != python?.interpreter.layout.first_interpreter { python = PythonFunctions(found) }
            return
        }
    }

    /// By the name of the file that has Python's interpreter (`python3.9`, `libpython3.14.so.1.0`), the number behind 3; nil: there is none.
    public var pythonVersion: Int? {
        for piece in code.pieces {
            guard case .file(let file) = piece.source, let version = PythonSymbols.version(ofFile: file.name) else { continue }
            return version
        }
        return nil
    }

    /// Reads the names of Python's functions in these frames, as the kernel side sends them, if they are not known.
    public func learnPython(_ frames: some Sequence<UInt64>) {
        guard let python, let memory = try? OpenFile(at: directory.descriptor, "mem") else { return }
        python.learn(frames, memory: memory.descriptor)
    }

    private static func maps(of process: FileDescriptor) throws(Errno) -> [UInt8] {
        let maps = try OpenFile(at: process, "maps")
        return try maps.descriptor.readToEnd()
    }

    /// The directory of another thread, if the process's first thread has ended and others live: it then has no memory, and the others have. Nil otherwise.
    private static func livingThread(of process: FileDescriptor) -> OpenFile? {
        guard let memory = try? OpenFile(at: process, "maps") else { return nil }
        var byte: UInt8 = 0
        guard read(memory.descriptor.rawValue, &byte, 1) == 0, let threads = fdopendir(openat(process.rawValue, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC))
        else { return nil }
        defer { closedir(threads) }
        while let entry = readdir(threads) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) } }
            // The directory that a thread has beside those of processes has all that theirs have; the one in task/ has not.
            guard let tid = Int32(name), let thread = try? OpenFile(at: FileDescriptor(rawValue: AT_FDCWD), "/proc/\(tid)", options: O_DIRECTORY),
                let maps = try? maps(of: thread.descriptor), !maps.isEmpty
            else { continue }
            return thread
        }
        return nil
    }

    /// The number of the last reading of the mappings that found a change. Numbers grow, in all symbolizers that share a store.
    public var reading: UInt64 { layers.reading }

    /// The number of the layer that the mappings have at a moment. At moments of one layer, addresses have the same names.
    public func layer(at moment: CodeMoment = .latest) -> UInt64 { layers.layer(at: moment) }

    /// Whether code is known at a frame's address.
    public func covers(_ frame: FrameAddress, at moment: CodeMoment = .latest) -> Bool { layers.code(at: moment).code(at: frame.lookupAddress) != nil }

    /// Whether the process had the code at a frame's address that was found there.
    public func hasSameCode(as found: FoundMappings, _ frame: FrameAddress, at moment: CodeMoment = .latest) -> Bool {
        guard let own = layers.code(at: moment).code(at: frame.lookupAddress), let other = found.code.code(at: frame.lookupAddress) else { return false }
        return own.isSameCode(as: other)
    }

    /// Whether the process's just-in-time compiler has named more functions since the last comparison.
    public var hasNewGeneratedCode: Bool { generated.hasChanged() }

    /// Compares the functions of the process's just-in-time compiler at these addresses with those of the last comparison. Returns where they
    /// were replaced. `number`: that of the comparison; numbers grow.
    public func replacedGeneratedCode(at addresses: Set<UInt64>, number: UInt64) -> Set<UInt64> { generated.compare(addresses, number: number) }

    /// The name of a frame, or the reason why it has none. `comparison`: generated functions have the names from before that comparison.
    public func symbolize(_ frame: FrameAddress, at moment: CodeMoment = .latest, before comparison: UInt64? = nil) -> Symbol {
        namedByCompiler(layers.code(at: moment).symbol(frame), frame, comparison)
    }

    /// The names of a frame in code that was found in the process.
    public func frames(_ frame: FrameAddress, in found: FoundMappings, before comparison: UInt64? = nil) -> [PlacedSymbol] {
        found.code.frames(frame, named: namedByCompiler(found.code.symbol(frame), frame, comparison))
    }

    private func namedByCompiler(_ symbol: Symbol, _ frame: FrameAddress, _ comparison: UInt64?) -> Symbol {
        switch symbol {
        case .module(_, _, _), .unknown(_, .anonymousMemory):
            switch (generated.function(at: frame.lookupAddress, before: comparison), symbol) {
            case (.named(let match), _): return .generated(name: match.name, offset: frame.address - match.start)
            case (.unnamed(let reason), .unknown): return .unknown(address: frame.address, reason: reason)
            default: return symbol
            }
        default: return symbol
        }
    }

    /// The same, followed by the functions that were inlined there, the innermost last. They and places are known if the symbol store reads debugging
    /// information and the file has some.
    public func frames(_ frame: FrameAddress, at moment: CodeMoment = .latest, before comparison: UInt64? = nil) -> [PlacedSymbol] {
        layers.code(at: moment).frames(frame, named: symbolize(frame, at: moment, before: comparison))
    }

    private func source(of mapping: Mapping) -> PlacedCode.Source {
        switch mapping.backing {
        case .file(let path, let isDeleted):
            do throws(SymbolFileError) {
                return .file(
                    try store.file(
                        behind: mapping, path: path, isDeleted: isDeleted, process: directory.descriptor, tree: tree))
            } catch {
                return .nothing(.unreadable(error))
            }
        case .named("[vdso]"):
            do throws(Errno) {
                return .file(store.image(try memory(of: mapping), named: "[vdso]"))
            } catch {
                return .nothing(.unreadable(SymbolFileError(file: "[vdso]", problem: .unreadable(error))))
            }
        case .named, .anonymous:
            return .nothing(.anonymousMemory)
        }
    }

    /// The bytes of a mapping from the process's memory. Used for the vDSO, which has no file.
    private func memory(of mapping: Mapping) throws(Errno) -> [UInt8] {
        let limit: UInt64 = 1 << 20
        guard mapping.end - mapping.start <= limit, let position = Int64(exactly: mapping.start) else {
            throw .fileTooLarge
        }
        let memory = try OpenFile(at: directory.descriptor, "mem")
        var bytes = [UInt8](repeating: 0, count: Int(mapping.end - mapping.start))
        let count = bytes.withUnsafeMutableBytes { pread(memory.descriptor.rawValue, $0.baseAddress, $0.count, off_t(position)) }
        guard count == bytes.count else { throw count < 0 ? Errno(rawValue: errno) : .ioError }
        return bytes
    }
}

extension SymbolTable {
    /// The reason to report if `function(at:)` finds none.
    var reasonForNoFunction: UnknownReason {
        if let problem { return .unusableDebugFile(problem) }
        return functionCount == 0 ? .noSymbolTable : .noSymbolCovers(onlyDynamicSymbols: hasOnlyDynamicSymbols)
    }
}

extension FileDescriptor {
    /// Reads up to the end of a /proc file, whose size is unknown.
    func readToEnd() throws(Errno) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 16 * 1024)
        var filled = 0
        while true {
            if filled == bytes.count { bytes.append(contentsOf: repeatElement(0, count: bytes.count)) }
            let count = bytes.withUnsafeMutableBytes { Glibc.read(rawValue, $0.baseAddress?.advanced(by: filled), $0.count - filled) }
            if count < 0 {
                let error = Errno(rawValue: errno)
                if error == .interrupted { continue }
                throw error
            }
            if count == 0 { return Array(bytes[..<filled]) }
            filled += count
        }
    }
}
