/// Which part of a name that doesn't fit its box is left out.
public enum NameCut: String, CaseIterable, Sendable {
    /// What tells less: what stands before a function's own name (templates, namespaces, paths, packages), and what follows it.
    case auto
    case left, right

    /// Longer names are cut at their right: nobody reads what is in them.
    private static let longest = 4096

    /// What stands before a function's own name ends in one of these.
    private static let separators: [UInt8] = Array(":/.".utf8)

    /// A name in at most `limit` columns of a fixed-pitch font, with an ellipsis for what is left out.
    func fit(_ name: UnsafeRawBufferPointer, columns limit: Int) -> [Unicode.Scalar] {
        var scalars: [Unicode.Scalar] = []
        // A name of n bytes is shown in at most 4n columns.
        let isLong = name.count > Self.longest
        forEachDisplayScalar(isLong ? UnsafeRawBufferPointer(rebasing: name[..<Self.longest]) : name) { scalars.append($0) }
        if columns(scalars[...]) <= limit { return scalars }
        switch self {
        case .left where !isLong:
            return ["…"] + suffix(scalars[...], limit - 1)
        case .auto where !isLong:
            guard let core = Self.functionName(scalars) else { break }
            let head = scalars[..<core.upperBound]
            let tail: [Unicode.Scalar] = core.upperBound < scalars.count ? ["…"] : []
            let room = limit - tail.count
            if columns(head) <= room { return head + tail }
            if columns(scalars[core]) < room { return ["…"] + suffix(head, room - 1) + tail }
            return prefix(scalars[core], limit - 1) + ["…"]
        default: break
        }
        return prefix(scalars[...], limit - 1) + ["…"]
    }

    /// Where a function's own name lies in a name, in UTF-16 units, for the viewer, which fits names in the same way.
    static func functionName(in name: UnsafeRawBufferPointer) -> Range<Int>? {
        if name.count > longest || !name.contains(where: { separators.contains($0) }) { return nil }
        var scalars: [Unicode.Scalar] = []
        forEachDisplayScalar(name) { scalars.append($0) }
        guard let core = functionName(scalars) else { return nil }
        let units = { (part: ArraySlice<Unicode.Scalar>) in part.reduce(0) { $0 + UTF16.width($1) } }
        return units(scalars[..<core.lowerBound])..<units(scalars[..<core.upperBound])
    }

    /// Columns that the scalars take at most. Wide scripts and pictures take two.
    private func columns(_ scalars: ArraySlice<Unicode.Scalar>) -> Int { scalars.reduce(0) { $0 + Self.columns($1) } }

    private static func columns(_ scalar: Unicode.Scalar) -> Int { scalar.value < 0x1100 ? 1 : 2 }

    private func prefix(_ scalars: ArraySlice<Unicode.Scalar>, _ limit: Int) -> [Unicode.Scalar] {
        var used = 0
        return Array(
            scalars.prefix {
                used += Self.columns($0)
                return used <= limit
            })
    }

    private func suffix(_ scalars: ArraySlice<Unicode.Scalar>, _ limit: Int) -> [Unicode.Scalar] {
        var used = 0
        let count = scalars.reversed().prefix {
            used += Self.columns($0)
            return used <= limit
        }.count
        return Array(scalars.suffix(count))
    }

    /// The name after the last `::`, `/`, `:` or, as Go writes methods, `).` outside of brackets, up to the parameters; nil where nothing stands before it.
    private static func functionName(_ name: [Unicode.Scalar]) -> Range<Int>? {
        var (start, index, depth) = (0, 0, 0)
        func next(_ offset: Int = 1) -> Unicode.Scalar? { index + offset < name.count ? name[index + offset] : nil }
        scan: while index < name.count {
            let scalar = name[index]
            if depth == 0, name[start..<index].elementsEqual("operator".unicodeScalars), !isLetter(scalar) {
                // The brackets of `operator()` and `operator<` are its name.
                if scalar == "(", next() == ")" { index += 1 }
                repeat { index += 1 } while index < name.count && !isLetter(name[index]) && name[index] != "("
                continue
            }
            switch scalar {
            case "(" where depth == 0 && index > start && name[index - 1] != ".": break scan
            case "(", "<", "[", "{": depth += 1
            case ">" where index > 0 && (name[index - 1] == "-" || name[index - 1] == "="): break
            case ")", ">", "]", "}": depth = max(depth - 1, 0)
            case "/" where depth == 0: start = index + 1
            case ":" where depth == 0 && next() == ":":
                start = index + 2
                index += 1
            case ":" where depth == 0 && next().map(isLetter) == true: start = index + 1
            case "." where depth == 0 && index > 0 && name[index - 1] == ")": start = index + 1
            case " " where depth == 0:
                // What is returned comes before a function that has parameters.
                guard next().map(isLetter) == true, hasParameters(name[index...]) else { break scan }
                start = index + 1
            default: break
            }
            index += 1
        }
        if start == 0 { start = afterPackages(name[..<index]) }
        return start > 0 && start < index ? start..<index : nil
    }

    private static func hasParameters(_ rest: ArraySlice<Unicode.Scalar>) -> Bool {
        zip(rest, rest.dropFirst()).contains { $0 != " " && $1 == "(" }
    }

    /// Behind the last point of `org.apache.Filter.doFilter`; 0 for `libc.so.6` or `sort.part.0`.
    private static func afterPackages(_ name: ArraySlice<Unicode.Scalar>) -> Int {
        let parts = name.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count >= 3, parts.allSatisfy({ $0.first.map(isLetter) == true }) else { return 0 }
        return parts.last?.startIndex ?? 0
    }

    private static func isLetter(_ scalar: Unicode.Scalar) -> Bool {
        scalar == "_" || scalar == "$" || scalar.properties.isAlphabetic
    }
}
