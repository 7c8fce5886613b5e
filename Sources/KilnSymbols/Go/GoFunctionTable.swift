/// The function table that every Go program has for its own tracebacks, even if it is stripped: `.gopclntab`, in the formats of Go 1.16 and
/// later (`runtime/symtab.go`, `debug/gosym`).
///
/// For each instruction it has the distance from the stack pointer to the function's frame. kiln converts that to call frame information,
/// with special rules for the runtime functions that switch stacks:
/// - The outermost functions of a goroutine or thread, and those after which the scheduler runs for no goroutine: unwinding ends.
/// - Functions that call on the thread's own stack and wait: the unchanged frame pointer leads back. It belongs to the function that called
///   them, so that function is missing in the stack.
/// - The function to which a callback from C returns: it stands for the call that left the goroutine's stack (`gobuf`), and never runs. The
///   functions that C called are on the thread's stack, and are missing in the goroutine's stack.
/// - The trampoline that ends a signal handler.
struct GoFunctionTable {
    private enum Kind {
        case ordinary, outermost, otherStack, leftForC, signal
    }

    private static let kinds: [String: Kind] = [
        "runtime.goexit": .outermost, "runtime.rt0_go": .outermost, "runtime.mstart": .outermost, "runtime.clone": .outermost,
        "runtime.mcall": .outermost, "runtime.morestack": .outermost,
        "runtime.systemstack": .otherStack, "runtime.asmcgocall": .otherStack,
        // These have a frame of their own, and call the vDSO.
        "runtime.nanotime1": .otherStack, "runtime.walltime": .otherStack, "time.now": .otherStack,
        "runtime.systemstack_switch": .leftForC,
        "runtime.sigreturn": .signal, "runtime.sigreturn__sigaction": .signal,
    ]

    private let start: UnsafeRawPointer
    /// Of the whole table.
    let byteCount: Int
    private let textStart: UInt64
    private let count: Int
    /// Offsets in the table.
    private let names: Int
    private let units: Int
    private let files: Int
    private let stackDeltas: Int
    private let functions: Int
    /// Function addresses have 8 bytes; otherwise they are 4-byte offsets from `textStart`.
    private let isOld: Bool
    /// Functions have the number of their first line (Go 1.20), and inlined calls have shorter descriptions.
    private let isNew: Bool
    private let quantum: UInt64

    /// `text`: the address of the code, for tables whose own address is set by the loader. Nil if the table has no known format.
    init?(_ bytes: UnsafeRawBufferPointer, text: UInt64) {
        guard let start = bytes.baseAddress else { return nil }
        var reader = DwarfReader(from: start, to: start + bytes.count)
        let format = reader.number(UInt32.self)
        isNew = format == 0xffff_fff1
        switch format {
        case 0xffff_fffa: isOld = true  // Go 1.16
        case 0xffff_fff0, 0xffff_fff1: isOld = false  // Go 1.18, Go 1.20
        default: return nil
        }
        reader.skip(2)
        quantum = UInt64(reader.number(UInt8.self))
        guard reader.number(UInt8.self) == 8 else { return nil }
        count = Int(clamping: reader.number(UInt64.self))
        reader.skip(8)
        let stored = isOld ? 0 : reader.number(UInt64.self)
        textStart = stored == 0 && !isOld ? text : stored
        names = Int(clamping: reader.number(UInt64.self))
        units = Int(clamping: reader.number(UInt64.self))
        files = Int(clamping: reader.number(UInt64.self))
        stackDeltas = Int(clamping: reader.number(UInt64.self))
        functions = Int(clamping: reader.number(UInt64.self))
        guard !reader.hasFailed, quantum > 0, [names, units, files, stackDeltas, functions].allSatisfy({ $0 < bytes.count }),
            count < (bytes.count - functions) / (isOld ? 16 : 8)
        else { return nil }
        self.start = start
        byteCount = bytes.count
    }

    /// Entries in the format of .debug_frame, without malformed ones.
    func callFrameInformation() -> [UInt8] {
        var section = FrameSectionWriter()
        section.beginProgram()
        var index = reader(at: functions)
        var entry = address(&index)
        // Far more than any linker writes: in a malformed table, all functions may refer to the same long list.
        for _ in 0..<count where section.bytes.count < 16 * byteCount {
            let offset = isOld ? index.number(UInt64.self) : UInt64(index.number(UInt32.self))
            let end = address(&index)
            if entry < end, !index.hasFailed { add(from: entry, to: end, at: functions &+ Int(clamping: offset), to: &section) }
            entry = end
        }
        return section.bytes
    }

    /// Calls `body` with the first address, the end and the name of each function. The names together are no larger than the table, so that a
    /// hostile one, in which many functions have one long name, takes no more memory.
    func forEachFunction(_ body: (UInt64, UInt64, UnsafeRawBufferPointer) -> Void) {
        var size = 0
        var index = reader(at: functions)
        var entry = address(&index)
        for _ in 0..<count {
            let offset = isOld ? index.number(UInt64.self) : UInt64(index.number(UInt32.self))
            let end = address(&index)
            guard !index.hasFailed else { return }
            var function = reader(at: functions &+ Int(clamping: offset))
            function.skip(isOld ? 8 : 4)
            var name = reader(at: names + Int(function.number(UInt32.self)))
            let text = name.string()
            if entry < end, !function.hasFailed, !name.hasFailed, !text.isEmpty, text.count <= SymbolCandidates.longestName, size + text.count <= byteCount {
                size += text.count
                body(entry, end, text)
            }
            entry = end
        }
    }

    // MARK: - Source code

    /// A function in the table.
    struct Function {
        fileprivate let entry: UInt64
        fileprivate let offset: Int
    }

    /// The function that covers an address; the last one of the table has no end.
    func function(at address: UInt64) -> Function? {
        func start(_ index: Int) -> UInt64 {
            var entry = reader(at: functions + index * (isOld ? 16 : 8))
            return self.address(&entry)
        }
        var low = 0, high = count
        while low < high {
            let middle = (low + high) / 2
            if start(middle) <= address { low = middle + 1 } else { high = middle }
        }
        guard low > 0, low < count || address < start(count) else { return nil }
        var entry = reader(at: functions + (low - 1) * (isOld ? 16 : 8))
        let first = self.address(&entry)
        let offset = isOld ? entry.number(UInt64.self) : UInt64(entry.number(UInt32.self))
        return entry.hasFailed ? nil : Function(entry: first, offset: functions &+ Int(clamping: offset))
    }

    /// The line of source code from which the instruction at an address was made.
    func place(at address: UInt64, in function: Function) -> SourcePlace? {
        var fields = reader(at: function.offset)
        fields.skip(isOld ? 8 : 4)
        fields.skip(16)
        let fileDeltas = fields.number(UInt32.self), lineDeltas = fields.number(UInt32.self)
        fields.skip(4)
        let unit = fields.number(UInt32.self)
        guard !fields.hasFailed, let number = value(at: address, in: function, deltas: fileDeltas), number >= 0,
            let line = value(at: address, in: function, deltas: lineDeltas), line > 0, line <= Int64(Int32.max)
        else { return nil }
        var place = reader(at: units &+ (Int(unit) &+ Int(number)) &* 4)
        let offset = place.number(UInt32.self)
        guard !place.hasFailed, offset != .max else { return nil }
        var path = reader(at: files &+ Int(offset))
        let text = path.string()
        guard !path.hasFailed, !text.isEmpty, text.count <= SymbolCandidates.longestName else { return nil }
        return SourcePlace(file: String(decoding: text, as: UTF8.self), line: Int(line))
    }

    /// The innermost inlined function at an address, and an address of the same function whose place is that of its call; nil: none is inlined there.
    /// `functionData`: `GoModule.functionData` and what follows.
    func inlinedCall(at address: UInt64, in function: Function, _ functionData: UnsafeRawBufferPointer?) -> (name: String, caller: UInt64)? {
        guard !isOld, let functionData, let start = functionData.baseAddress else { return nil }
        var fields = reader(at: function.offset)
        fields.skip(28)
        let deltas = fields.number(UInt32.self)
        fields.skip(isNew ? 11 : 7)
        let datas = fields.number(UInt8.self)
        // Tables of numbers by address: unsafe points, stack maps, inlined calls. Then offsets of data: two of arguments and locals, one of objects, the tree.
        guard !fields.hasFailed, deltas > 2, datas > 3 else { return nil }
        fields.skip(8)
        let calls = fields.number(UInt32.self)
        fields.skip(UInt64(deltas - 3) * 4 + 12)
        let tree = fields.number(UInt32.self)
        guard !fields.hasFailed, tree != .max, let index = value(at: address, in: function, deltas: calls), index >= 0, index < 1 << 24 else { return nil }
        let offset = Int(tree) + Int(index) * (isNew ? 16 : 20) + (isNew ? 4 : 12)
        guard offset + 8 <= functionData.count else { return nil }
        var call = DwarfReader(from: start + offset, to: start + functionData.count)
        let nameOffset = call.number(Int32.self), distance = call.number(Int32.self)
        guard !call.hasFailed, nameOffset >= 0, distance >= 0 else { return nil }
        var name = reader(at: names &+ Int(nameOffset))
        let text = name.string()
        guard !name.hasFailed, text.count <= SymbolCandidates.longestName else { return nil }
        return (String(decoding: text, as: UTF8.self), function.entry &+ UInt64(distance))
    }

    /// A number that changes in the course of a function: pairs of its change and of the length of code for which it holds.
    private func value(at address: UInt64, in function: Function, deltas: UInt32) -> Int64? {
        guard deltas > 0 else { return nil }
        var pairs = reader(at: stackDeltas &+ Int(deltas)), value: Int64 = -1, location = function.entry
        while true {
            let change = pairs.unsignedLEB()
            if change == 0 && location != function.entry { return nil }
            value &+= Int64(bitPattern: change >> 1) ^ -Int64(bitPattern: change & 1)
            let length = pairs.unsignedLEB() &* quantum
            guard !pairs.hasFailed, length > 0, length <= UInt64(Int32.max) else { return nil }
            location &+= length
            if address < location { return value }
        }
    }

    private func reader(at offset: Int) -> DwarfReader {
        DwarfReader(from: start + min(max(offset, 0), byteCount), to: start + byteCount)
    }

    private func address(_ reader: inout DwarfReader) -> UInt64 {
        isOld ? reader.number(UInt64.self) : textStart &+ UInt64(reader.number(UInt32.self))
    }

    private func add(from entry: UInt64, to end: UInt64, at offset: Int, to section: inout FrameSectionWriter) {
        var function = reader(at: offset)
        function.skip(isOld ? 8 : 4)
        let nameOffset = function.number(UInt32.self)
        function.skip(8)
        let deltaOffset = function.number(UInt32.self)
        guard !function.hasFailed else { return }
        var name = reader(at: names + Int(nameOffset))
        switch Self.kinds[String(decoding: name.string(), as: UTF8.self)] ?? .ordinary {
        case .outermost: section.add(from: entry, to: end, FrameSectionWriter.outermost)
        case .otherStack: section.add(from: entry, to: end, FrameSectionWriter.otherStack)
        // Return addresses here are the functions' first bytes, and a return address is looked up one byte before. Two entries, so that no
        // other section's entry begins between them.
        case .leftForC:
            section.add(from: entry &- 1, to: entry, [])
            section.add(from: entry, to: end, [])
        case .signal:
            section.add(from: entry &- 1, to: entry, FrameSectionWriter.signalFrame, isSignal: true)
            section.add(from: entry, to: end, FrameSectionWriter.signalFrame, isSignal: true)
        case .ordinary: if deltaOffset > 0 { addFrames(from: entry, to: end, at: Int(deltaOffset), to: &section) }
        }
    }

    /// Pairs of numbers: the change of the distance, and the length of code for which it holds.
    private func addFrames(from entry: UInt64, to end: UInt64, at offset: Int, to section: inout FrameSectionWriter) {
        var pairs = reader(at: stackDeltas + offset)
        var instructions: [UInt8] = []
        var distance: Int64 = -1
        var location = entry
        while location < end {
            let change = pairs.unsignedLEB()
            if change == 0 && location != entry { break }
            distance &+= Int64(bitPattern: change >> 1) ^ -Int64(bitPattern: change & 1)
            let length = pairs.unsignedLEB() &* quantum
            guard !pairs.hasFailed, distance >= 0, length > 0, length <= end - location else { break }
            FrameSectionWriter.appendFrame(distance, then: length, to: &instructions)
            location += length
        }
        if location > entry { section.add(from: entry, to: location, instructions) }
    }
}

/// Writes call frame information in the format of .debug_frame.
private struct FrameSectionWriter {
    private(set) var bytes: [UInt8] = []
    private var signalProgram = 0

    /// DW_CFA_undefined: the return address.
    static let outermost: [UInt8] = [0x07, 16]
    /// DW_CFA_def_cfa_expression: breg6 16, and a nop that means `KILN_UNWIND_FP_ELSEWHERE`; DW_CFA_offset: rbp at CFA - 16.
    static let otherStack: [UInt8] = [0x0f, 3, 0x76, 16, 0x96, 0x86, 2]
    /// The kernel's signal frame, as C libraries describe it.
    static let signalFrame: [UInt8] = [
        0x0f, 4, 0x77, 0xa0, 1, 0x06, 0x10, 6, 3, 0x77, 0xf8, 0, 0x10, 16, 3, 0x77, 0xa8, 1,
    ]

    /// Two common entries: the CFA is rsp + 8, and the return address is below it.
    mutating func beginProgram() {
        let tail: [UInt8] = [1, 0x78, 16]
        let rules: [UInt8] = [0x0c, 7, 8, 0x90, 1]
        append([0xff, 0xff, 0xff, 0xff, 3, 0] + tail + rules)
        signalProgram = bytes.count
        append([0xff, 0xff, 0xff, 0xff, 3] + Array("zS\0".utf8) + tail + [0] + rules)
    }

    mutating func add(from start: UInt64, to end: UInt64, _ instructions: [UInt8], isSignal: Bool = false) {
        var body: [UInt8] = []
        Self.append(UInt32(isSignal ? signalProgram : 0), to: &body)
        Self.append(start, to: &body)
        Self.append(end &- start, to: &body)
        if isSignal { body.append(0) }
        append(body + instructions)
    }

    /// A frame of this size below the return address, for some bytes of code. A function with a frame keeps its caller's frame pointer at
    /// its top.
    static func appendFrame(_ size: Int64, then length: UInt64, to instructions: inout [UInt8]) {
        instructions.append(0x0e)  // DW_CFA_def_cfa_offset
        var rest = UInt64(size) &+ 8
        repeat {
            instructions.append(UInt8(rest & 0x7f) | (rest > 0x7f ? 0x80 : 0))
            rest >>= 7
        } while rest > 0
        instructions += size >= 8 ? [0x86, 2] : [0x08, 6]  // DW_CFA_offset, DW_CFA_same_value
        instructions.append(0x04)  // DW_CFA_advance_loc4
        append(UInt32(truncatingIfNeeded: length), to: &instructions)
    }

    private mutating func append(_ body: [UInt8]) {
        Self.append(UInt32(body.count), to: &bytes)
        bytes += body
    }

    private static func append<Number: FixedWidthInteger>(_ number: Number, to bytes: inout [UInt8]) {
        withUnsafeBytes(of: number.littleEndian) { bytes += $0 }
    }
}
