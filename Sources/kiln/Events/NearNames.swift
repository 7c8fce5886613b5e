/// Names that resemble one that doesn't exist: those that contain it, or differ in a few letters; the nearest first.
func nearNames(to name: String, among names: some Sequence<String>, atMost limit: Int = 5) -> [String] {
    let wanted = Array(name.lowercased().utf8), most = max(1, min(3, wanted.count / 3))
    var found: [(distance: Int, name: String)] = []
    for candidate in names {
        let bytes = Array(candidate.lowercased().utf8)
        if wanted.count >= 4, bytes.count > wanted.count, candidate.lowercased().contains(name.lowercased()) {
            found.append((bytes.count - wanted.count, candidate))
        } else if abs(bytes.count - wanted.count) <= most {
            let distance = editDistance(wanted, bytes)
            if distance <= most { found.append((distance, candidate)) }
        }
    }
    return found.sorted { ($0.distance, $0.name) < ($1.distance, $1.name) }.prefix(limit).map(\.name)
}

/// The number of letters to insert, remove or replace.
private func editDistance(_ one: [UInt8], _ other: [UInt8]) -> Int {
    var row = Array(0...other.count)
    for (i, byte) in one.enumerated() {
        var diagonal = row[0]
        row[0] = i + 1
        for (j, candidate) in other.enumerated() {
            let replaced = diagonal + (byte == candidate ? 0 : 1)
            diagonal = row[j + 1]
            row[j + 1] = min(replaced, row[j + 1] + 1, row[j] + 1)
        }
    }
    return row[other.count]
}
