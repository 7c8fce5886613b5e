import CElfutils
import Glibc
import SystemPackage

/// Every function of a program or library, and whether a uprobe can stand at its beginning.
///
/// Functions come from symbols (the file's own, those of its debug file, `.gnu_debugdata`), from Go's own table of functions, and, where no
/// symbol covers code, from call frame information: those are named `FILE+0xSTART`. Several names at one place are one function.
public final class FunctionList {
    /// How a function is known.
    public enum Source: String, Equatable, Sendable {
        case symbolTable = ".symtab"
        case dynamicSymbols = ".dynsym"
        case debugFile = "debug file"
        case compressedSymbols = ".gnu_debugdata"
        case goTable = ".gopclntab"
        case callFrames = "call frame information"
        case linkageTable = ".plt"
    }

    /// Why a function can't be probed, or why its count would mean something else.
    public enum Obstacle: Equatable, Sendable {
        /// A slot of the procedure linkage table, which jumps to a function of another file.
        case linkageStub
        /// It chooses, once in a process, the function that is called by this name (IFUNC).
        case indirect
        /// A part of another function, which jumps there: nobody calls it.
        case part
        /// It is not in an executable segment.
        case outsideCode
        /// The file ends before, or its bytes can't be read.
        case unreadable
        /// It has fewer bytes than its first instruction.
        case tooShort(size: UInt64)
        /// The kernel places no uprobe on its first instruction.
        case refused(RefusedInstruction)
        /// The file is for another processor.
        case otherProcessor
    }

    public struct Function: Equatable, Sendable {
        /// The linker's name of those at this place that is asked for: the first one in the order of `names` that a pattern matches.
        public let name: String
        /// All names at this place, the preferred one first. `FILE+0xSTART` for a function without symbol.
        public let names: [String]
        /// As linked, as in `nm`.
        public let address: UInt64
        /// Of its first byte in the file: where a uprobe stands.
        public let offset: UInt64
        /// In bytes. Nil: nothing says it.
        public let size: UInt64?
        public let source: Source
        /// Nil: it can be probed, as far as kiln can tell. The kernel has the last word.
        public let obstacle: Obstacle?

        /// The name for people: without parameters.
        public var text: String { demangled(name) ?? name }
        /// With parameters, which tell overloaded functions apart.
        public var signature: String { demangledSignature(name) ?? text }
    }

    /// What patterns chose.
    public struct Selection: Equatable, Sendable {
        /// By address; those that can't be probed, too.
        public let functions: [Function]
        /// Patterns that no function matches.
        public let unmatched: [String]
    }

    /// 24 bytes each: a browser has a million functions.
    struct Entry {
        let address: UInt64
        /// 0: unknown.
        var size: UInt32
        /// In `names`.
        let firstName: UInt32
        let nameCount: UInt16
        let source: Source
        var traits: Traits
    }

    struct Traits: OptionSet {
        let rawValue: UInt8
        static let linkageStub = Traits(rawValue: 1)
        static let indirect = Traits(rawValue: 2)
        static let part = Traits(rawValue: 4)
    }

    /// In the strings of a list.
    struct NameRange {
        let offset: UInt32
        let length: UInt16
    }

    public let path: String
    /// For people, and at the beginning of names of functions without a symbol.
    public let fileName: String
    /// A Go program or library: return probes end it.
    public let isGo: Bool
    /// Static probes (USDT) of the file.
    public let staticProbes: [ProbePlaces.StaticProbe]
    /// Names are missing: the debug file or the call frame information can't be read.
    public let problem: SymbolFileError?

    private let file: OpenFile
    private let segments: [ElfSegment]
    private let isSupported: Bool
    private let entries: [Entry]
    private let names: [NameRange]
    private let strings: [UInt8]
    private let window = CodeWindow()

    /// Reads an ELF file and its debug file. Needs no rights but to read them. Throws `Errno` and `SymbolFileError`. `name`: the last part of the
    /// file's path, if `path` has another one, as /proc/PID/exe.
    public init(of path: String, named name: String? = nil) throws {
        let file = try OpenFile(at: FileDescriptor(rawValue: AT_FDCWD), path)
        let elf = try ElfFile(reading: file.descriptor, named: path)
        let sections = try elf.sections()
        let segments = try elf.segments()
        let loadable = LoadableSegments(segments)
        var problem: SymbolFileError?
        let symbols = try SymbolCandidates(ofProgram: elf, sections, at: path, problem: &problem)
        var builder = FunctionListBuilder(symbols)
        let go = try elf.goFunctionTable()
        if let go { builder.add(go) }
        do throws(SymbolFileError) {
            builder.add(try elf.frameFunctions(loadable, sections))
        } catch {
            problem = problem ?? error
        }
        self.path = path
        fileName = name ?? FilePath(path).lastComponent?.string ?? path
        isGo = go != nil || sections.contains { elf.name(of: $0) == ".go.buildinfo" }
        staticProbes = try elf.staticProbes(loadable)
        isSupported = elf.header.e_machine == UInt16(EM_X86_64) && elf.isLittleEndian64Bit
        self.problem = problem
        self.segments = segments.filter(\.isExecutable)
        entries = builder.entries
        names = builder.names
        strings = builder.strings
        self.file = file
    }

    /// All functions, those that can't be probed, too.
    public var count: Int { entries.count }

    /// By address.
    public func function(_ index: Int) -> Function { function(index, named: 0, names(of: entries[index])) }

    /// Whether a function is a part of another one.
    public func isPart(_ index: Int) -> Bool { entries[index].traits.contains(.part) }

    /// The functions that are meant, by address.
    public func select(_ patterns: FunctionPatterns) -> Selection {
        var functions: [Function] = [], matched: Set<Int> = []
        for index in entries.indices {
            let names = names(of: entries[index])
            if let chosen = patterns.choose(names, matched: &matched) { functions.append(function(index, named: chosen, names)) }
        }
        let unmatched = patterns.included.indices.filter { !matched.contains($0) }.map { patterns.included[$0] }
        return Selection(functions: functions, unmatched: unmatched)
    }

    /// Where a function of this list returns.
    public func returnPlaces(of function: Function) throws(ReturnPlacesError) -> ReturnPlaces {
        guard isSupported else { throw .otherProcessor }
        guard let size = function.size, size > 0 else { throw .unknownSize }
        guard size <= ReturnPlaces.largestFunction else { throw .tooLarge(size: size) }
        var code = [UInt8](repeating: 0, count: Int(size))
        let count = code.withUnsafeMutableBytes { pread(file.descriptor.rawValue, $0.baseAddress, $0.count, off_t(clamping: function.offset)) }
        guard count == code.count else { throw .unreadable }
        // Typed throws don't pass through withUnsafeBytes.
        let result = code.withUnsafeBytes { bytes in
            Result { () throws(ReturnPlacesError) in try ReturnPlaces(of: bytes, at: function.address, offset: function.offset) }
        }
        return try result.get()
    }

    /// The file offset of the first instruction of a Go function that runs once a call. Most functions begin with a check of the stack's size; where it is
    /// too small, or the scheduler wants the thread, the function begins again after that.
    public func entryBehindStackCheck(of function: Function) -> UInt64 {
        window.withBytes(of: file.descriptor, at: function.offset, count: 32) { bytes in
            guard let bytes, let length = Self.stackCheckLength(bytes), UInt64(length) < function.size ?? 0 else { return function.offset }
            return function.offset + UInt64(length)
        }
    }

    /// Of the check as the compiler of Go 1.17 and later writes it for x86-64: the stack pointer, or for large frames a copy of it in r12, is compared
    /// with `stackguard0` of the goroutine in r14.
    static func stackCheckLength(_ code: UnsafeRawBufferPointer) -> Int? {
        var position = 0
        func has(_ bytes: [UInt8]) -> Bool { code.count >= position + bytes.count && code[position..<position + bytes.count].elementsEqual(bytes) }
        func skipBranch(_ short: UInt8) -> Bool {
            if has([short]) { position += 2 } else if has([0x0f, short + 0x10]) { position += 6 } else { return false }
            return position <= code.count
        }
        if has([0x49, 0x3b, 0x66, 0x10]) {  // cmp 0x10(%r14),%rsp
            position = 4
            return skipBranch(0x76) ? position : nil
        }
        if has([0x4c, 0x8d, 0x64, 0x24]) {  // lea disp8(%rsp),%r12
            position = 5
        } else if has([0x4c, 0x8d, 0xa4, 0x24]) {  // lea disp32(%rsp),%r12
            position = 8
        } else if has([0x49, 0x89, 0xe4, 0x49, 0x81, 0xec]) {  // mov %rsp,%r12; sub imm32,%r12; jb
            position = 10
            guard skipBranch(0x72) else { return nil }
        } else {
            return nil
        }
        guard has([0x4d, 0x3b, 0x66, 0x10]) else { return nil }  // cmp 0x10(%r14),%r12
        position += 4
        return skipBranch(0x76) ? position : nil
    }

    /// The address, as linked, of a byte of the file's code.
    public func address(ofFileOffset offset: UInt64) -> UInt64? {
        segments.first { offset >= $0.fileOffset && offset - $0.fileOffset < $0.fileSize }.map { offset - $0.fileOffset &+ $0.address }
    }

    private func names(of entry: Entry) -> [String] {
        guard entry.nameCount > 0 else {
            return ["\(fileName)+0x\(String(entry.address, radix: 16))"]
        }
        return names[Int(entry.firstName)..<Int(entry.firstName) + Int(entry.nameCount)].map { range in
            let name = String(decoding: strings[Int(range.offset)..<Int(range.offset) + Int(range.length)], as: UTF8.self)
            return entry.traits.contains(.linkageStub) ? name + "@plt" : name
        }
    }

    private func function(_ index: Int, named number: Int, _ names: [String]) -> Function {
        let entry = entries[index]
        let segment = segments.first { entry.address >= $0.address && entry.address - $0.address < $0.fileSize }
        let offset = segment.map { entry.address - $0.address &+ $0.fileOffset } ?? 0
        return Function(
            name: names[number], names: names, address: entry.address, offset: offset, size: entry.size > 0 ? UInt64(entry.size) : nil,
            source: entry.source, obstacle: segment == nil ? .outsideCode : obstacle(entry, at: offset))
    }

    private func obstacle(_ entry: Entry, at offset: UInt64) -> Obstacle? {
        if !isSupported { return .otherProcessor }
        if entry.traits.contains(.linkageStub) { return .linkageStub }
        if entry.traits.contains(.indirect) { return .indirect }
        if entry.traits.contains(.part) { return .part }
        return window.withBytes(of: file.descriptor, at: offset, count: Instruction.longest) { bytes in
            guard let bytes else { return .unreadable }
            if let refused = RefusedInstruction(at: bytes) { return .refused(refused) }
            if entry.size > 0, let first = Instruction(bytes), first.length > Int(entry.size) { return .tooShort(size: UInt64(entry.size)) }
            return nil
        }
    }
}

extension FunctionList.Obstacle: CustomStringConvertible {
    /// What the function is or does, which stands behind its name.
    public var description: String {
        switch self {
        case .linkageStub: "leads to another file (procedure linkage table)"
        case .indirect: "chooses the function that is called by this name (IFUNC)"
        case .part: "is a part of a function, which jumps there"
        case .outsideCode: "is outside of the executable segments"
        case .unreadable: "has no bytes in the file"
        case .tooShort(let size): "is shorter (\(size) bytes) than its first instruction"
        case .refused(let instruction): instruction.description
        case .otherProcessor: "is for another processor"
        }
    }

    /// The same for several functions, as a heading.
    public var kind: String {
        switch self {
        case .linkageStub: "in the procedure linkage table"
        case .indirect: "IFUNC"
        case .part: "jumped to, not called"
        case .outsideCode: "outside of the executable segments"
        case .unreadable: "without bytes in the file"
        case .tooShort: "shorter than an instruction"
        case .refused: "with a first instruction that the kernel refuses"
        case .otherProcessor: "for another processor"
        }
    }
}
