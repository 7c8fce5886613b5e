/// Why nothing can be pushed, as one line.
public struct PushError: Error, CustomStringConvertible {
    public let description: String

    init(_ description: String) { self.description = description }
}

/// A URL that profiles are pushed to, of the parts that all programs read in the same way: kiln decides by the host whether a token may be sent there,
/// and another program connects to it.
public struct PushURL: Equatable, Sendable {
    /// By TLS.
    public var isEncrypted: Bool
    /// A name, an IPv4 address, or an IPv6 address in brackets.
    public var host: String
    public var port: UInt16?
    /// Empty, or begins with `/`.
    public var path: String
    /// What stands behind `?`.
    public var query: String?

    private static let longest = 4096

    /// - Throws: `PushError`. User names and passwords are refused, because every user can read the command line of a process.
    public init(_ text: String) throws {
        func failure(_ reason: String) -> PushError { PushError("\(text.prefix(200).debugDescription) \(reason)") }
        guard let end = text.firstRange(of: "://"), ["http", "https"].contains(text[..<end.lowerBound].lowercased()) else {
            throw failure("is no URL of http:// or https://.")
        }
        guard text.utf8.count <= Self.longest, text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f && !"\"\\<>^`#".utf8.contains($0) }) else {
            throw failure("has characters that are not allowed in a URL, or too many: write them as %20.")
        }
        isEncrypted = text[..<end.lowerBound].count == 5
        let rest = text[end.upperBound...]
        let authority = rest.prefix { $0 != "/" && $0 != "?" }, target = rest[authority.endIndex...]
        if authority.contains("@") { throw failure("has a user or a password: give a token in --push-token-file instead.") }
        let hostEnd = authority.first == "[" ? authority.firstIndex(of: "]").map(authority.index(after:)) : authority.firstIndex(of: ":")
        let host = authority[..<(hostEnd ?? authority.endIndex)], port = authority[host.endIndex...]
        let isAddress =
            host.first == "[" && host.last == "]" && host.count > 3 && host.dropFirst().dropLast().allSatisfy { $0.isHexDigit || $0 == ":" || $0 == "." }
        guard isAddress || !host.isEmpty && host.allSatisfy({ $0.isLetter || $0.isNumber || "-._".contains($0) }) else { throw failure("has no host.") }
        self.host = String(host)
        if !port.isEmpty {
            guard port.first == ":", port.dropFirst().allSatisfy(\.isNumber), let number = UInt16(port.dropFirst()), number > 0 else {
                throw failure("has a port that is none.")
            }
            self.port = number
        }
        let mark = target.firstIndex(of: "?") ?? target.endIndex
        path = String(target[..<mark])
        query = mark < target.endIndex ? String(target[target.index(after: mark)...]) : nil
    }

    /// The whole URL.
    public var text: String { place + (query.map { "?\($0)" } ?? "") }

    /// Without the query, which may be secret: for messages.
    public var place: String { "\(isEncrypted ? "https" : "http")://\(host)\(port.map { ":\($0)" } ?? "")\(path)" }

    /// The host is this one, whatever its names resolve to.
    public var isLoopback: Bool {
        if host.lowercased() == "localhost" || host == "[::1]" { return true }
        let parts = host.split(separator: ".", omittingEmptySubsequences: false)
        return parts.count == 4 && parts[0] == "127" && parts.allSatisfy { UInt8($0) != nil }
    }

    /// The names and values of the query, as they stand there.
    var parameters: [(name: Substring, value: Substring)] {
        (query ?? "").split(separator: "&").map { part in
            let mark = part.firstIndex(of: "=") ?? part.endIndex
            return (part[..<mark], part[mark...].dropFirst())
        }
    }

    /// Text as a value in a query (RFC 3986, 2.1).
    static func encoded(_ text: String) -> String {
        let digits = Array("0123456789ABCDEF")
        return text.utf8.reduce(into: "") { result, byte in
            let scalar = Unicode.Scalar(byte)
            if scalar.isASCII, scalar.properties.isAlphabetic || (0x30...0x39).contains(byte) || "-._~".utf8.contains(byte) {
                result.unicodeScalars.append(scalar)
            } else {
                result += "%\(digits[Int(byte >> 4)])\(digits[Int(byte & 15)])"
            }
        }
    }
}
