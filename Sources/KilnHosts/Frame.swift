/// A message between kiln here and kiln on another host.
///
/// On the wire: one byte of kind, four bytes of length (big endian), and the payload. Both sides have the same version, so the format has none.
public enum Frame: Equatable, Sendable {
    /// To the other host: the `HostOrder`, as JSON.
    case order([UInt8])
    /// To the other host: a signal for the subcommand.
    case signal(Int32)
    /// Shows, each second and both ways, that the connection lives.
    case alive
    /// From the other host: where the files of the session are written there.
    case directory(String)
    /// From the other host: a piece of what the subcommand printed.
    case output([UInt8])
    /// From the other host: a piece of what it printed on standard error.
    case errors([UInt8])
    /// From the other host: the next piece of a file of the session. The first piece creates the file.
    case append(file: String, [UInt8])
    /// From the other host: a piece of a new version of a file. With the last piece, the new version replaces the old one.
    case replace(file: String, [UInt8], isLast: Bool)
    /// From the other host: the subcommand has ended, and all files have been sent.
    case ended(status: Int32)
    /// From the other host: it can't go on, and why.
    case failed([UInt8])

    /// The largest payload, in bytes.
    public static let limit = 1 << 20

    private enum Kind: UInt8 {
        case order = 1, signal, alive, directory, output, errors, append, replace, replaceLast, ended, failed
    }

    public var bytes: [UInt8] {
        let (kind, payload): (Kind, [UInt8]) =
            switch self {
            case .order(let json): (.order, json)
            case .signal(let number): (.signal, Self.bytes(of: number))
            case .alive: (.alive, [])
            case .directory(let path): (.directory, Array(path.utf8))
            case .output(let bytes): (.output, bytes)
            case .errors(let bytes): (.errors, bytes)
            case .append(let file, let bytes): (.append, Self.named(file, bytes))
            case .replace(let file, let bytes, let isLast): (isLast ? .replaceLast : .replace, Self.named(file, bytes))
            case .ended(let status): (.ended, Self.bytes(of: status))
            case .failed(let reason): (.failed, reason)
            }
        return [kind.rawValue] + Self.bytes(of: Int32(payload.count)) + payload
    }

    private static func bytes(of number: Int32) -> [UInt8] { withUnsafeBytes(of: number.bigEndian) { Array($0) } }

    private static func number(_ bytes: some Collection<UInt8>) -> Int32 { Int32(bitPattern: bytes.reduce(0) { $0 << 8 | UInt32($1) }) }

    /// One byte with the length of the name, the name, and the content.
    private static func named(_ file: String, _ bytes: [UInt8]) -> [UInt8] {
        let name = file.utf8.prefix(Int(UInt8.max))
        return [UInt8(name.count)] + name + bytes
    }

    /// Nil if no frame has this kind and payload.
    fileprivate init?(kind: UInt8, _ payload: [UInt8]) {
        var file = "", content: [UInt8] = []
        guard let kind = Kind(rawValue: kind) else { return nil }
        switch kind {
        case .append, .replace, .replaceLast:
            guard let length = payload.first, payload.count > Int(length), let name = String(validating: payload[1..<(1 + Int(length))], as: UTF8.self),
                !name.isEmpty
            else { return nil }
            (file, content) = (name, Array(payload[(1 + Int(length))...]))
        case .signal, .ended: guard payload.count == 4 else { return nil }
        case .alive: guard payload.isEmpty else { return nil }
        case .order, .directory, .output, .errors, .failed: break
        }
        switch kind {
        case .order: self = .order(payload)
        case .signal: self = .signal(Self.number(payload))
        case .alive: self = .alive
        case .directory: self = .directory(String(decoding: payload, as: UTF8.self))
        case .output: self = .output(payload)
        case .errors: self = .errors(payload)
        case .append: self = .append(file: file, content)
        case .replace: self = .replace(file: file, content, isLast: false)
        case .replaceLast: self = .replace(file: file, content, isLast: true)
        case .ended: self = .ended(status: Self.number(payload))
        case .failed: self = .failed(payload)
        }
    }
}

/// Bytes to frames.
public struct FrameReader: Sendable {
    /// What arrived is no frame: the other side is not kiln, or another version of it.
    public struct Malformed: Error, Equatable {}

    private var pending: [UInt8] = []
    /// The index of the next frame in `pending`.
    private var start = 0

    public init() {}

    public mutating func add(_ bytes: some Sequence<UInt8>) {
        pending.removeFirst(start)
        start = 0
        pending += bytes
    }

    /// The next frame, or nil until more bytes have come.
    public mutating func next() throws(Malformed) -> Frame? {
        let rest = pending[start...]
        guard rest.count >= 5 else { return nil }
        let length = rest[(start + 1)..<(start + 5)].reduce(0) { $0 << 8 | Int($1) }
        guard length <= Frame.limit else { throw Malformed() }
        guard rest.count >= 5 + length else { return nil }
        guard let frame = Frame(kind: rest[start], Array(rest[(start + 5)..<(start + 5 + length)])) else { throw Malformed() }
        start += 5 + length
        return frame
    }
}
