/// Names that resemble one that doesn't exist: those that begin with it or contain it, or differ in a few letters; the nearest first.
func nearNames(to name: String, among names: some Sequence<String>, atMost limit: Int = 5) -> [String] {
    let wanted = Array(name.lowercased().utf8), most = max(1, min(3, wanted.count / 3))
    var found: [(distance: Int, name: String)] = []
    for candidate in names {
        let bytes = Array(candidate.lowercased().utf8)
        let begins = wanted.count >= 2 && bytes.starts(with: wanted)
        if begins || wanted.count >= 4, bytes.count > wanted.count, begins || candidate.lowercased().contains(name.lowercased()) {
            found.append((bytes.count - wanted.count, candidate))
        } else if abs(bytes.count - wanted.count) <= most {
            let distance = editDistance(wanted, bytes)
            if distance <= most { found.append((distance, candidate)) }
        }
    }
    return found.sorted { ($0.distance, $0.name) < ($1.distance, $1.name) }.prefix(limit).map(\.name)
}

/// The number of letters to insert, remove or replace, and of neighbours to exchange (optimal string alignment).
private func editDistance(_ one: [UInt8], _ other: [UInt8]) -> Int {
    var former = [Int](), row = Array(0...other.count)
    for (i, byte) in one.enumerated() {
        var next = [i + 1]
        for (j, candidate) in other.enumerated() {
            var least = min(row[j] + (byte == candidate ? 0 : 1), next[j] + 1, row[j + 1] + 1)
            if i > 0, j > 0, byte == other[j - 1], one[i - 1] == candidate { least = min(least, former[j - 1] + 1) }
            next.append(least)
        }
        (former, row) = (row, next)
    }
    return row[other.count]
}
