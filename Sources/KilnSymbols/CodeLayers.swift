/// When the code at a frame's address was mapped.
public enum CodeMoment: Hashable, Sendable {
    /// At the last reading of the mappings.
    case latest
    /// At the reading with this number, or the first one after it if there is none before.
    case at(UInt64)
    /// Between the reading with this number and the next: it is not what the reading found there.
    case after(UInt64)
}

/// The executable address space of a process through time.
///
/// A layer has one code for each address. As long as new mappings lie where there was nothing, or the same code, a layer grows; where a library
/// has been replaced by another one, a further layer begins. An earlier layer goes on when its library comes back, so that a program that loads
/// two in turn has two layers.
struct CodeLayers {
    /// A layer holds all mappings of its process, some 150 bytes each. With so many layers, or so many mappings in all, new code replaces old code of the
    /// current layer.
    static let limit = 1024
    static let mappingLimit = 1 << 19

    private var layers: [(number: UInt64, code: CodeMap)] = []
    private var current = 0
    /// The readings that changed something, in the order of their numbers. `layer`: an index.
    private var readings: [(number: UInt64, layer: Int)] = []

    var code: CodeMap { layers.isEmpty ? CodeMap() : layers[current].code }
    /// The number of the last reading that changed something, and that of its layer.
    var reading: UInt64 { readings.last?.number ?? 0 }
    var layer: UInt64 { layers.isEmpty ? 0 : layers[current].number }

    /// Places the present mappings (sorted, disjoint). `number`: gives numbers that grow, from 1.
    mutating func place(_ present: [PlacedCode], number: () -> UInt64) {
        let before = current
        if layers.isEmpty {
            layers.append((number(), CodeMap()))
        } else if !layers[current].code.agrees(with: present) {
            if let former = layers.lastIndex(where: { $0.code.agrees(with: present) }) {
                current = former
            } else if layers.count < Self.limit, layers.reduce(present.count, { $0 + $1.code.pieces.count }) <= Self.mappingLimit {
                current = layers.count
                layers.append((number(), CodeMap()))
            }
        }
        let old = layers[current].code
        layers[current].code.replace(by: present)
        if readings.isEmpty || current != before || !old.isSame(as: layers[current].code) { readings.append((number(), current)) }
    }

    func code(at moment: CodeMoment) -> CodeMap { layers.isEmpty ? CodeMap() : layers[index(at: moment)].code }

    func layer(at moment: CodeMoment) -> UInt64 { layers.isEmpty ? 0 : layers[index(at: moment)].number }

    private func index(at moment: CodeMoment) -> Int {
        switch moment {
        case .latest: current
        case .at(let reading): readings[readings.lastIndex(startingAtOrBelow: reading, start: { $0.number }) ?? 0].layer
        case .after(let reading):
            // The last one, if the code was not found again.
            readings[min(readings.lastIndex(startingAtOrBelow: reading, start: { $0.number }).map { $0 + 1 } ?? 0, readings.count - 1)].layer
        }
    }
}
