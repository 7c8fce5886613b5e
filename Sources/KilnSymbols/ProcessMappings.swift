/// One line of /proc/PID/maps; proc(5) describes the format.
public struct Mapping: Hashable, Sendable {
    public struct Permissions: OptionSet, Hashable, Sendable {
        public let rawValue: UInt8
        public init(rawValue: UInt8) { self.rawValue = rawValue }
        public static let read = Permissions(rawValue: 1)
        public static let write = Permissions(rawValue: 2)
        public static let execute = Permissions(rawValue: 4)
        /// Shared with other processes; otherwise private and copy-on-write.
        public static let shared = Permissions(rawValue: 8)
    }

    public struct Device: Hashable, Sendable {
        public let major: UInt32
        public let minor: UInt32
        public init(major: UInt32, minor: UInt32) {
            self.major = major
            self.minor = minor
        }
    }

    /// The origin of a mapping's bytes.
    public enum Backing: Hashable, Sendable {
        /// `path` is in the process's mount namespace. `isDeleted`: no longer on disk under that path.
        case file(path: String, isDeleted: Bool)
        /// `[vdso]`, `[stack]`, `[heap]`, `[anon:name]` and the like, including the brackets.
        case named(String)
        case anonymous
    }

    public let start: UInt64
    /// The first address after the mapping.
    public let end: UInt64
    /// The offset of the mapping's start in the file, in bytes.
    public let fileOffset: UInt64
    public let permissions: Permissions
    public let device: Device
    public let inode: UInt64
    public let backing: Backing

    public init(
        start: UInt64, end: UInt64, fileOffset: UInt64, permissions: Permissions,
        device: Device, inode: UInt64, backing: Backing
    ) {
        self.start = start
        self.end = end
        self.fileOffset = fileOffset
        self.permissions = permissions
        self.device = device
        self.inode = inode
        self.backing = backing
    }

    public func contains(_ address: UInt64) -> Bool { start <= address && address < end }

    /// The name of the mapping for messages: the last component of the file's path, or the bracketed name.
    public var moduleName: String? {
        switch backing {
        case .file(let path, _): path.split(separator: "/").last.map(String.init) ?? path
        case .named(let name): name
        case .anonymous: nil
        }
    }
}

/// A malformed line of /proc/PID/maps.
public struct MappingsError: Error, Equatable, CustomStringConvertible {
    /// Counted from 1.
    public let line: Int
    public let text: String

    public var description: String {
        "cannot parse line \(line) of the process's maps: '\(text)'. Expected 'start-end perms offset major:minor inode path'; this kernel's format is not known to kiln, please report it."
    }
}

/// The address space of a process from /proc/PID/maps, searchable by address.
public struct ProcessMappings: Sendable, Equatable {
    /// Sorted by address, without overlaps.
    public let mappings: [Mapping]

    /// Parses the content of a maps file.
    public init(parsing bytes: [UInt8]) throws(MappingsError) {
        var parsed: [Mapping] = []
        var number = 0
        for line in bytes.split(separator: UInt8(ascii: "\n")) {
            number += 1
            var fields = MapsLine(rest: line)
            guard let mapping = fields.mapping() else {
                throw MappingsError(line: number, text: String(decoding: line, as: UTF8.self))
            }
            parsed.append(mapping)
        }
        // The kernel prints mappings in order. But if the process maps and unmaps while the file is read in several pieces, lines may
        // repeat or overlap; then the later line is correct.
        let isOrdered = zip(parsed, parsed.dropFirst()).allSatisfy { $0.end <= $1.start }
        mappings = isOrdered ? parsed : Self.withoutOverlaps(parsed)
    }

    /// The mapping that contains an address, by binary search.
    public func mapping(containing address: UInt64) -> Mapping? {
        guard let index = mappings.lastIndex(startingAtOrBelow: address, start: \.start) else { return nil }
        let candidate = mappings[index]
        return candidate.contains(address) ? candidate : nil
    }

    private static func withoutOverlaps(_ lines: [Mapping]) -> [Mapping] {
        let newestFirst = lines.enumerated().sorted { ($0.element.start, $1.offset) < ($1.element.start, $0.offset) }
        var kept: [Mapping] = []
        for (_, mapping) in newestFirst where mapping.start >= kept.last?.end ?? 0 {
            kept.append(mapping)
        }
        return kept
    }
}

extension Array {
    /// The index of the last element whose start is at or below an address, in an array sorted by start.
    func lastIndex(startingAtOrBelow address: UInt64, start: (Element) -> UInt64) -> Int? {
        var low = 0
        var high = count
        while low < high {
            let middle = (low + high) / 2
            if start(self[middle]) <= address { low = middle + 1 } else { high = middle }
        }
        return low == 0 ? nil : low - 1
    }
}

/// Parses the fields of one line from left to right.
private struct MapsLine {
    var rest: ArraySlice<UInt8>

    mutating func mapping() -> Mapping? {
        guard let start = number(16), take("-"), let end = number(16), take(" "), start < end,
            let permissions = permissions(), take(" "),
            let fileOffset = number(16), take(" "),
            let major = number(16), take(":"), let minor = number(16), take(" "),
            let inode = number(10)
        else { return nil }
        // After the inode, the kernel pads with spaces up to a fixed column and prints the path. A path never begins with a space, because
        // file paths are absolute.
        let path = rest.drop { $0 == UInt8(ascii: " ") }
        return Mapping(
            start: start, end: end, fileOffset: fileOffset, permissions: permissions,
            device: Mapping.Device(major: UInt32(truncatingIfNeeded: major), minor: UInt32(truncatingIfNeeded: minor)),
            inode: inode, backing: Self.backing(path: path, inode: inode))
    }

    private mutating func take(_ character: Unicode.Scalar) -> Bool {
        guard rest.first == UInt8(ascii: character) else { return false }
        rest.removeFirst()
        return true
    }

    private mutating func number(_ radix: UInt64) -> UInt64? {
        var value: UInt64 = 0
        var digits = 0
        while let byte = rest.first, let digit = hexDigit(byte), digit < radix {
            let (shifted, tooLarge) = value.multipliedReportingOverflow(by: radix)
            let (sum, carried) = shifted.addingReportingOverflow(digit)
            guard !tooLarge && !carried else { return nil }
            value = sum
            digits += 1
            rest.removeFirst()
        }
        return digits > 0 ? value : nil
    }

    private mutating func permissions() -> Mapping.Permissions? {
        guard rest.count >= 4 else { return nil }
        var permissions: Mapping.Permissions = []
        for (byte, flag) in zip(rest.prefix(4), [Mapping.Permissions.read, .write, .execute, .shared]) {
            switch byte {
            case UInt8(ascii: "r"), UInt8(ascii: "w"), UInt8(ascii: "x"), UInt8(ascii: "s"): permissions.insert(flag)
            case UInt8(ascii: "-"), UInt8(ascii: "p"): break
            default: return nil
            }
        }
        rest.removeFirst(4)
        return permissions
    }

    private static func backing(path: ArraySlice<UInt8>, inode: UInt64) -> Mapping.Backing {
        guard let first = path.first else { return .anonymous }
        if inode == 0 && first != UInt8(ascii: "/") {
            return .named(String(decoding: path, as: UTF8.self))
        }
        let mark = Array(" (deleted)".utf8)
        let isDeleted = path.count > mark.count && path.suffix(mark.count).elementsEqual(mark)
        let bytes = isDeleted ? path.dropLast(mark.count) : path
        return .file(path: String(decoding: unescaped(bytes), as: UTF8.self), isDeleted: isDeleted)
    }

    /// The kernel prints a newline in a path as `\012`, and escapes nothing else, not even a backslash (`seq_path(m, file, "\n")` in
    /// fs/proc/task_mmu.c).
    private static func unescaped(_ path: ArraySlice<UInt8>) -> [UInt8] {
        let escape = Array("\\012".utf8)
        var plain: [UInt8] = []
        plain.reserveCapacity(path.count)
        var rest = path
        while let byte = rest.first {
            if byte == UInt8(ascii: "\\") && rest.starts(with: escape) {
                plain.append(UInt8(ascii: "\n"))
                rest.removeFirst(escape.count)
            } else {
                plain.append(byte)
                rest.removeFirst()
            }
        }
        return plain
    }
}

func hexDigit(_ byte: UInt8) -> UInt64? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt64(byte - UInt8(ascii: "0"))
    case UInt8(ascii: "a")...UInt8(ascii: "f"): UInt64(byte - UInt8(ascii: "a") + 10)
    case UInt8(ascii: "A")...UInt8(ascii: "F"): UInt64(byte - UInt8(ascii: "A") + 10)
    default: nil
    }
}
