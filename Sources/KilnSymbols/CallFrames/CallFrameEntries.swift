/// A frame description entry (FDE): the instructions for one range of code.
struct FunctionFrameEntry {
    let start: UInt64
    let end: UInt64
    let instructions: UnsafeRawPointer
    let instructionCount: UInt32
    /// Index of its common entry.
    let common: UInt32
    let isFromDebugFrame: Bool
}

/// All entries of a file's call frame information, from one pass over its sections. The search table in .eh_frame_hdr is not used: it adds
/// nothing to the entries, and not every linker writes it.
struct CallFrameEntries {
    private(set) var common: [CommonFrameEntry] = []
    /// In the order of the file.
    private(set) var functions: [FunctionFrameEntry] = []
    /// The number of malformed entries, whose code range is unknown.
    private(set) var malformedCount = 0

    private let architecture: CallFrameArchitecture
    /// The ranges of code, sorted. An entry outside of them is for code that the linker has dropped.
    private let code: [Range<UInt64>]

    init(_ architecture: CallFrameArchitecture, code: [Range<UInt64>]) {
        self.architecture = architecture
        self.code = code.sorted { $0.lowerBound < $1.lowerBound }
    }

    /// The position of an entry whose length exceeds its section.
    struct Overrun: Error {
        let offset: Int
    }

    /// Adds the entries of a section, which must outlive this value. `word` reads a word of the file by its address.
    mutating func scan(_ section: CallFrameSection, word: (UInt64) -> UInt64?) throws(Overrun) {
        guard let start = section.bytes.baseAddress else { return }
        let end = start + section.bytes.count
        var reader = DwarfReader(from: start, to: end)
        // All assemblers and linkers write a common entry before those that refer to it. So only entries that the pass has already seen as
        // common are accepted.
        var known: [Int: UInt32] = [:]
        var latest: (offset: Int, index: UInt32)?
        functions.reserveCapacity(functions.count + section.bytes.count / 48)

        while reader.remaining >= 4 {
            let offset = reader.position - start
            let short = reader.number(UInt32.self)
            if short == 0 {
                // By the standard, this is the end. But a linker puts crtend.o's terminator in the place of crtend.o, and some files have
                // more entries after it.
                if section.isEndKnown { continue } else { return }
            }
            let isLong = short == .max
            let length = isLong ? reader.number(UInt64.self) : UInt64(short)
            guard !reader.hasFailed, length <= UInt64(reader.remaining) else {
                if section.isEndKnown { throw Overrun(offset: offset) } else { return }
            }
            var body = DwarfReader(from: reader.position, to: reader.position + Int(length))
            reader.skip(length)
            let identifierOffset = body.position - start
            // In .eh_frame the identifier has 4 bytes even if the length has 8.
            let identifier =
                isLong && section.isDebugFrame ? body.number(UInt64.self) : UInt64(body.number(UInt32.self))
            guard !body.hasFailed else {
                malformedCount += 1
                continue
            }
            let isCommon = section.isDebugFrame ? identifier == (isLong ? UInt64.max : 0xffff_ffff) : identifier == 0
            if isCommon {
                let entry = commonEntry(&body, in: section)
                if !entry.isUsable { malformedCount += 1 }
                known[offset] = UInt32(common.count)
                common.append(entry)
                continue
            }
            let reference =
                section.isDebugFrame ? Int(clamping: identifier) : identifierOffset - Int(identifier)
            if latest?.offset != reference {
                latest = known[reference].map { (reference, $0) }
            }
            guard let latest else {
                malformedCount += 1
                continue
            }
            addFunction(&body, common: latest.index, in: section, word)
        }
    }

    private mutating func addFunction(
        _ body: inout DwarfReader, common commonIndex: UInt32, in section: CallFrameSection, _ word: (UInt64) -> UInt64?
    ) {
        let entry = (
            encoding: common[Int(commonIndex)].pointerEncoding, hasData: common[Int(commonIndex)].hasAugmentationData
        )
        var start = body.pointer(entry.encoding, in: section)
        let length = body.pointer(entry.encoding.format, in: section)
        if entry.hasData {
            let count = body.unsignedLEB()
            body.skip(count)
        }
        if entry.encoding.isIndirect { start = word(start) ?? 0 }
        guard !body.hasFailed else {
            malformedCount += 1
            return
        }
        guard length > 0, let index = code.lastIndex(startingAtOrBelow: start, start: \.lowerBound),
            start < code[index].upperBound
        else { return }
        functions.append(
            FunctionFrameEntry(
                start: start, end: min(start.saturatingAdd(length), code[index].upperBound),
                instructions: body.position, instructionCount: UInt32(clamping: body.remaining),
                common: commonIndex, isFromDebugFrame: section.isDebugFrame))
    }

    private func commonEntry(_ body: inout DwarfReader, in section: CallFrameSection) -> CommonFrameEntry {
        var entry = CommonFrameEntry(section: section)
        let version = body.number(UInt8.self)
        let augmentation = body.string()
        guard [1, 3, 4].contains(version) else { return entry }
        if augmentation.elementsEqual("eh".utf8) { body.skip(8) }  // GCC 2: a pointer to exception tables
        if version == 4 {
            let addressSize = body.number(UInt8.self)
            let segmentSize = body.number(UInt8.self)
            guard Int64(addressSize) == architecture.wordSize, segmentSize == 0 else { return entry }
        }
        entry.codeFactor = body.unsignedLEB()
        entry.dataFactor = body.signedLEB()
        entry.returnRegister = version == 1 ? UInt64(body.number(UInt8.self)) : body.unsignedLEB()
        guard parseAugmentation(augmentation, of: &entry, &body), !body.hasFailed else { return entry }
        entry.isUsable = runInitialInstructions(body, of: &entry)
        return entry
    }

    /// Returns false if the format of function entries can't be known.
    private func parseAugmentation(
        _ augmentation: UnsafeRawBufferPointer, of entry: inout CommonFrameEntry, _ body: inout DwarfReader
    ) -> Bool {
        guard let first = augmentation.first else { return true }
        if first != UInt8(ascii: "z") { return augmentation.elementsEqual("eh".utf8) }
        entry.hasAugmentationData = true
        let count = body.unsignedLEB()
        let start = body.skip(count)
        guard !body.hasFailed else { return false }
        var augmentationData = DwarfReader(from: start, to: start + Int(count))
        for letter in augmentation.dropFirst() {
            switch letter {
            case UInt8(ascii: "R"):
                entry.pointerEncoding = PointerEncoding(rawValue: augmentationData.number(UInt8.self))
            case UInt8(ascii: "P"):
                let encoding = PointerEncoding(rawValue: augmentationData.number(UInt8.self))
                if !encoding.isOmitted { _ = augmentationData.pointer(encoding, in: entry.section) }
            case UInt8(ascii: "L"):
                _ = augmentationData.number(UInt8.self)
            case UInt8(ascii: "S"):
                entry.isSignalFrame = true
            case UInt8(ascii: "B"), UInt8(ascii: "G"):
                break  // arm64: pointers signed with key B, tagged memory. Neither has data.
            default:
                // The length allows parsing to go on, but the letter's effect on the frame is unknown.
                return false
            }
        }
        return !augmentationData.hasFailed
    }

    private func runInitialInstructions(_ instructions: DwarfReader, of entry: inout CommonFrameEntry) -> Bool {
        var program = CallFrameProgram(architecture)
        program.start(instructions, in: CallFrameState())
        guard case .end = program.run(of: entry) else { return false }
        entry.initial = program.state
        return true
    }
}
