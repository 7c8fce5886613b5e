import PrintableText

/// A host as ssh takes it: `name`, `user@name`, or `ssh://user@name:port`. https://man.openbsd.org/ssh.1
public struct HostName: Hashable, Sendable, CustomStringConvertible {
    public let description: String

    /// Nil for what ssh would take for an option, and for what is empty or has blanks or control characters.
    public init?(_ text: String) {
        guard let first = text.utf8.first, first != UInt8(ascii: "-"), text.utf8.allSatisfy({ $0 > 0x20 && $0 != 0x7f }), text.printable == text else {
            return nil
        }
        description = text
    }

    /// The host without user, for names of files and for tables: letters, digits, dots and dashes, others become `_`.
    public var short: String {
        var name = description[...]
        if name.hasPrefix("ssh://") { name = name.dropFirst(6) }
        if let at = name.lastIndex(of: "@") { name = name[name.index(after: at)...] }
        let safe = name.unicodeScalars.prefix(60).map { scalar -> Character in
            scalar.properties.isAlphabetic || ("0"..."9").contains(scalar) || scalar == "-" || scalar == "." ? Character(scalar) : "_"
        }
        return safe.first == "." ? "_" + String(safe.dropFirst()) : String(safe)
    }
}
