/// From the lines of a sample's frames to the numbers of their names, innermost first.
///
/// Nearly every line has been seen before, so a line is looked up as it stands and understood once.
struct PerfScriptFrameReader: ~Copyable {
    private(set) var names = FrameNames()

    private let options: CollapseOptions
    private let inlines: InlineResolver?
    private var lines = FrameLines()

    // What the line before says about the next one; needed only where inlined functions are looked up.
    private var wasUserFrame = false
    private var inlinedAddress: UInt64 = 0
    private var inlinedCount = 0
    private var scratch: [UInt8] = []

    init(_ options: CollapseOptions, inlines: InlineResolver?) {
        self.options = options
        self.inlines = inlines
    }

    /// The number of a name of the caller's, which holds no semicolon.
    mutating func intern(_ name: [UInt8]) -> UInt32 { names.intern(name) }

    mutating func beginSample() {
        wasUserFrame = false
        inlinedCount = 0
    }

    /// Adds a line's frames to the stack if the line has been seen before. False, and nothing changed, if not: then it may be no frame.
    ///
    /// Mutating for speed: a struct that is only read is copied for each call.
    @inline(__always)
    mutating func readKnown(_ line: UnsafeRawBufferPointer, _ start: PerfScriptFrame.Start, into stack: inout [UInt32]) -> Bool {
        if inlines != nil { return false }
        let (head, tail, hash) = key(line, start)
        guard let known = lines.find(head, tail, hash) else { return false }
        if known.count == 1 { stack.append(known.first) } else { stack.append(contentsOf: lines.frames(known)) }
        return true
    }

    /// Adds a line's frames to the stack.
    mutating func read(_ line: UnsafeRawBufferPointer, _ start: PerfScriptFrame.Start, into stack: inout [UInt32]) {
        if inlines != nil { return readAskingForInlines(line, start, into: &stack) }
        if readKnown(line, start, into: &stack) { return }
        let (head, tail, hash) = key(line, start)
        let (frames, origin) = resolve(line, isCaller: false)
        lines.insert(head, tail, hash, frames, origin)
        stack.append(contentsOf: frames)
    }

    /// The same for a stack that nobody wants, without asking debug information.
    mutating func readUncounted(_ line: UnsafeRawBufferPointer, _ start: PerfScriptFrame.Start, into stack: inout [UInt32]) {
        if inlines == nil { read(line, start, into: &stack) }
    }

    /// What a line is looked up by: an address or an offset makes it another one only where it is shown.
    @inline(__always)
    private mutating func key(
        _ line: UnsafeRawBufferPointer, _ start: PerfScriptFrame.Start
    ) -> (head: UnsafeRawBufferPointer, tail: UnsafeRawBufferPointer, hash: UInt64) {
        let text = UnsafeRawBufferPointer(rebasing: line[(options.showsAddresses ? start.address : start.symbol)...])
        let offset = options.showsAddresses ? text.count..<text.count : offsetRange(text)
        let head = UnsafeRawBufferPointer(rebasing: text[..<offset.lowerBound])
        let tail = UnsafeRawBufferPointer(rebasing: text[offset.upperBound...])
        return (head, tail, ByteHash.hash(head) ^ ByteHash.hash(tail) &* 0x9e37_79b9_7f4a_7c15)
    }

    /// Where the offset into the function stands in `symbol+0x5b (module)`; the end where there is none.
    @inline(__always)
    private func offsetRange(_ text: UnsafeRawBufferPointer) -> Range<Int> {
        let none = text.count..<text.count
        guard let base = text.baseAddress, text.last == UInt8(ascii: ")"),
            let opening = findLast(UInt8(ascii: "("), from: base, to: base + text.count)
        else { return none }
        let end = opening - base - 1
        guard end > 4, text[end].isSpace else { return none }
        var start = end
        while start > 0, text[start &- 1].isHexadecimalDigit { start &-= 1 }
        guard start > 3, start < end, text[start &- 1] == UInt8(ascii: "x"), text[start &- 2] == UInt8(ascii: "0"),
            text[start &- 3] == UInt8(ascii: "+")
        else { return none }
        return (start &- 3)..<end
    }

    /// The same with debug information, which knows functions by their addresses.
    ///
    /// perf prints a line `(inlined)` for what it found itself, with the address of the frame that follows. What debug
    /// information says about that frame replaces them: it may know more, and no function may stand there twice.
    private mutating func readAskingForInlines(
        _ line: UnsafeRawBufferPointer, _ start: PerfScriptFrame.Start, into stack: inout [UInt32]
    ) {
        let address = hexadecimal(line[start.address..<start.addressEnd])
        // Callers are known by the address they return to, which may be another function's already.
        let isCaller = wasUserFrame
        scratch.removeAll(keepingCapacity: true)
        scratch.append(isCaller ? 1 : 0)
        scratch.append(contentsOf: UnsafeRawBufferPointer(rebasing: line[start.address...]))
        let hash = scratch.withUnsafeBytes { ByteHash.hash($0) }
        let nothing = UnsafeRawBufferPointer(start: nil, count: 0)
        let found: FrameLines.Frames
        if let known = scratch.withUnsafeBytes({ lines.find($0, nothing, hash) }) {
            found = known
        } else {
            let (frames, origin) = resolve(line, isCaller: isCaller)
            found = scratch.withUnsafeBytes { lines.insert($0, nothing, hash, frames, origin) }
        }
        switch found.origin {
        case .inlinedByPerf:
            inlinedCount = (address == inlinedAddress ? inlinedCount : 0) + Int(found.count)
            inlinedAddress = address
        case .debugInformation:
            if address == inlinedAddress { stack.removeLast(inlinedCount) }
            fallthrough
        case .perf, .kernel:
            inlinedCount = 0
            wasUserFrame = found.origin != .kernel
        }
        stack.append(contentsOf: lines.frames(found))
    }

    /// The names of a line's frames, innermost first, and who says so.
    private mutating func resolve(_ line: UnsafeRawBufferPointer, isCaller: Bool) -> ([UInt32], FrameLines.Origin) {
        guard let frame = PerfScriptFrame.parse(line) else { return ([], .perf) }
        let module = PerfModule(line[frame.module])
        let suffix = Array(module.suffix(options).utf8)
        let symbol = Array(line[frame.symbol])
        let name = PerfSymbol.withoutOffset(symbol[...])
        if let inlines, module.isFile, !name.isEmpty, !name.elementsEqual("[unknown]".utf8) {
            let offset =
                name.count < symbol.count
                ? hexadecimal(symbol[(name.endIndex + 3)...]) : nil
            let back: UInt64 = isCaller ? 1 : 0
            let functions = inlines.functions(
                at: CodePlace(
                    address: hexadecimal(line[frame.address]) &- back, symbol: String(decoding: name, as: UTF8.self),
                    offset: offset.map { $0 &- min(back, $0) }, module: String(decoding: line[frame.module], as: UTF8.self)))
            if !functions.isEmpty {
                let frames = functions.enumerated().map { depth, function in
                    let line = function.line.isEmpty ? [] : frameName(":\(function.line)".utf8)
                    return names.intern(tidy(ArraySlice(function.name.utf8), isJIT: false) + line + Array((depth > 0 ? "_[i]" : "").utf8))
                }
                return (frames.reversed(), .debugInformation)
            }
        }
        var frames: [UInt32] = []
        let mayBeJIT = module.isJIT || module.isUnknown
        for (depth, part) in (mayBeJIT ? PerfSymbol.parts(name) : [name]).enumerated() {
            var shown: [UInt8]
            if part.isEmpty || part.elementsEqual("[unknown]".utf8) {
                shown = [UInt8(ascii: "[")] + (module.isUnknown || module.isInlined ? Array("unknown".utf8) : module.name)
                if options.showsAddresses { shown += Array(" <".utf8) + line[frame.address] + Array(">".utf8) }
                shown.append(UInt8(ascii: "]"))
                shown = frameName(shown)
            } else {
                shown = tidy(part, isJIT: mayBeJIT)
            }
            frames.append(names.intern(shown + (depth > 0 ? Array("_[i]".utf8) : suffix)))
        }
        return (frames.reversed(), module.isInlined ? .inlinedByPerf : module.isKernel ? .kernel : .perf)
    }

    /// A name as in its source, without arguments and without the character that divides frames.
    private func tidy(_ symbol: ArraySlice<UInt8>, isJIT: Bool) -> [UInt8] {
        frameName(PerfSymbol.shown(symbol, isJIT: isJIT, demangle: options.demangle))
    }
}
