/// A range of code that call frame information describes: a function, or a part of one.
struct FrameFunction {
    let start: UInt64
    let end: UInt64
    /// Its code begins with a frame already on the stack: other code jumps there, and nobody calls it. Compilers move rare code of a function
    /// away like that (`.cold`).
    let isPart: Bool
}

extension ElfFile {
    /// Sorted, each start once; without the frames of signals and without the slots of the procedure linkage table.
    func frameFunctions(_ loadable: LoadableSegments, _ sections: [ElfSection]) throws(SymbolFileError) -> [FrameFunction] {
        let machine = header.e_machine
        guard let architecture = CallFrameArchitecture.all.first(where: { $0.machine == machine }), isLittleEndian64Bit else { return [] }
        let stubs = sections.filter { $0.isCode && (name(of: $0) ?? "").hasPrefix(".plt") }.map { $0.address..<$0.end }
        var entries = CallFrameEntries(architecture, code: loadable.code(inFileOfSize: size))
        for section in try callFrameSections(loadable) {
            do throws(CallFrameEntries.Overrun) {
                try entries.scan(section) { word(at: $0, loadable) }
            } catch {
                throw broken("the entry at offset \(error.offset) of the call frame information runs beyond its end")
            }
        }
        var program = CallFrameProgram(architecture)
        var found: [FrameFunction] = []
        found.reserveCapacity(entries.functions.count)
        for function in entries.functions {
            let common = entries.common[Int(function.common)]
            guard common.isUsable, !common.isSignalFrame, !stubs.contains(where: { $0.contains(function.start) }) else { continue }
            program.start(
                DwarfReader(from: function.instructions, to: function.instructions + Int(function.instructionCount)), in: common.initial)
            while case .advance(0) = program.run(of: common) {}
            found.append(FrameFunction(start: function.start, end: function.end, isPart: !program.state.isAtEntry(architecture)))
        }
        // Sorting is stable in practice but not by contract; of two entries for one start, the longer one counts.
        found.sort { ($0.start, $1.end) < ($1.start, $0.end) }
        var last: UInt64?
        found.removeAll { function in
            defer { last = function.start }
            return function.start == last
        }
        return found
    }
}

extension CallFrameState {
    /// Only the return address is on the stack, as behind a call.
    fileprivate func isAtEntry(_ architecture: CallFrameArchitecture) -> Bool {
        guard case .register(architecture.stackPointer, offset: architecture.wordSize) = canonicalAddress else { return false }
        return true
    }
}
