/// RESP requests parsed plainly, a byte at a time and the whole stream at once: what the kernel's scanner is held against.
struct ReferenceParser {
    /// Completed requests by upper-case name; `other` for names over 64 bytes.
    private(set) var counts: [String: UInt64] = [:]
    private(set) var failed = false
    /// The stream ends with a complete request.
    private(set) var endsAtBoundary = true

    private let stream: [UInt8]
    private var position = 0

    init(_ stream: [UInt8]) {
        self.stream = stream
        do throws(Stop) {
            while position < stream.count {
                if stream[position] == UInt8(ascii: "*") { try array() } else { try inline() }
            }
        } catch {
            switch error {
            case .cut: endsAtBoundary = false
            case .notRESP: failed = true
            }
        }
    }

    private enum Stop: Error { case cut, notRESP }

    private mutating func array() throws(Stop) {
        let arguments = try header()
        guard abs(arguments) < 1 << 31 else { throw .notRESP }
        guard arguments > 0 else { return }
        var name = ""
        for argument in 0..<arguments {
            guard position < stream.count else { throw .cut }
            guard stream[position] == UInt8(ascii: "$") else { throw .notRESP }
            let start = position
            let length = try header(negative: false)
            guard length <= 512 << 20 else { throw .notRESP }
            if argument == 0 {
                if length > 64 {
                    name = "other"
                } else if position + length > stream.count {
                    position = start
                    throw .cut
                } else {
                    name = upperCase(stream[position..<(position + length)])
                }
            }
            guard position + length + 2 <= stream.count else { throw .cut }
            position += length + 2
        }
        counts[name, default: 0] += 1
    }

    /// A type byte, an optional minus, digits, CR and any byte: at most 15 bytes in all.
    private mutating func header(negative allowed: Bool = true) throws(Stop) -> Int {
        var number = 0, digits = 0, negative = false
        for offset in 1..<14 {
            guard position + offset < stream.count else { throw .cut }
            let byte = stream[position + offset]
            if byte == 13 {
                guard digits > 0 else { throw .notRESP }
                guard position + offset + 2 <= stream.count else { throw .cut }
                position += offset + 2
                if negative && !allowed { throw .notRESP }
                return negative ? -number : number
            }
            if byte == UInt8(ascii: "-"), offset == 1 {
                negative = true
                continue
            }
            guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) else { throw .notRESP }
            number = number * 10 + Int(byte - UInt8(ascii: "0"))
            digits += 1
        }
        throw .notRESP
    }

    private mutating func inline() throws(Stop) {
        var name: [UInt8] = [], ended = false
        while position < stream.count {
            let byte = stream[position]
            position += 1
            let space = byte == 32 || (9...13).contains(byte)
            if !ended, !space {
                guard (32...126).contains(byte) else { throw .notRESP }
                if byte != UInt8(ascii: "\""), byte != UInt8(ascii: "'") { name.append(byte) }
            } else if !name.isEmpty {
                ended = true
            }
            if byte == 10 {
                if ended { counts[name.count > 64 ? "other" : upperCase(name[...]), default: 0] += 1 }
                return
            }
        }
        throw .cut
    }

    private func upperCase(_ name: ArraySlice<UInt8>) -> String {
        String(decoding: name.map { (97...122).contains($0) ? $0 - 32 : $0 }, as: UTF8.self)
    }
}
