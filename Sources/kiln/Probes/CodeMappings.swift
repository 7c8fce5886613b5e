import KilnKernel
import KilnModel
import KilnSymbols

/// Converts the code of a session's processes into the form of the kernel's unwinder, and the unwinder's findings back into mappings.
final class CodeMappings {
    private struct Place: Hashable {
        let file: CodePiece.File?
        let fileOffset: UInt64
    }

    private var numbers: [Place: Int] = [:]
    /// By number, from 1: the first mapping of each piece.
    private var pieces: [ExecutableMapping] = []

    /// The executable mappings of the process. An unwind table is built when the kernel side needs it, once for each file of a session;
    /// only the kernel keeps it.
    func code(of symbolizer: Symbolizer) -> ProcessCode {
        ProcessCode(mappings(of: symbolizer), reading: symbolizer.reading, layer: symbolizer.layer())
    }

    func mappings(of symbolizer: Symbolizer) -> [CodeMapping] {
        let python = symbolizer.python?.interpreter.layout
        return symbolizer.executableMappings().map { mapping in
            let file = mapping.file
            let isGenerated =
                switch mapping.mapping.backing {
                case .file: false
                case .named, .anonymous: file == nil
                }
            return CodeMapping(
                start: mapping.start, end: mapping.end, bias: mapping.bias, file: file.map(AnyHashable.init), isGenerated: isGenerated,
                inode: mapping.comparableInode, piece: piece(mapping), python: python
            ) {
                guard let file, let table = try? file.unwindTable() else { return nil }
                defer { file.releaseUnwindTable() }
                return UnwindCells(base: table.base, granules: table.granuleCount, cells: table.cells)
            }
        }
    }

    /// The code of one process that the unwinder found in the kernel.
    func mappings(_ found: some Sequence<FoundCode>) -> FoundMappings {
        var mappings = FoundMappings()
        for code in found {
            if code.piece == 0 {
                mappings.addMemory(from: code.start, to: code.end)
            } else if pieces.indices.contains(code.piece - 1) {
                mappings.add(pieces[code.piece - 1], from: code.start, to: code.end)
            }
        }
        return mappings
    }

    private func piece(_ mapping: ExecutableMapping) -> CodePiece? {
        guard let file = mapping.file else { return nil }
        let line = mapping.mapping
        let identity = file.identity.map {
            CodePiece.File(
                major: line.device.major, minor: line.device.minor, inode: line.inode, size: UInt64(bitPattern: $0.size),
                modifiedSeconds: Int64($0.modifiedSeconds), modifiedNanoseconds: UInt32(truncatingIfNeeded: $0.modifiedNanoseconds)
            )
        }
        let place = Place(file: identity, fileOffset: line.fileOffset), number = numbers[place] ?? pieces.count + 1
        if number > pieces.count {
            numbers[place] = number
            pieces.append(mapping)
        }
        return CodePiece(file: identity, fileOffset: line.fileOffset, address: line.start &- mapping.bias, number: number)
    }
}
