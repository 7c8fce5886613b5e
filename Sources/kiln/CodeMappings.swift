import KilnKernel
import KilnSymbols

extension Symbolizer {
    /// What the process has mapped, for the unwinder in the kernel. A table is built when the kernel's side asks for it,
    /// once for each file of a session, and kept nowhere but there.
    func codeMappings() -> [CodeMapping] {
        executableMappings().map { mapping in
            let file = mapping.file
            return CodeMapping(start: mapping.start, end: mapping.end, bias: mapping.bias, file: file.map(AnyHashable.init)) {
                guard let file, let table = try? file.unwindTable() else { return nil }
                defer { file.releaseUnwindTable() }
                return UnwindCells(base: table.base, granules: table.granuleCount, cells: table.cells)
            }
        }
    }
}
