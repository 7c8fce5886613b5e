import TestSupport

/// Random streams of requests for the scanner.
enum Streams {
    static func array(_ words: [String]) -> [UInt8] { array(words.map { Array($0.utf8) }) }

    static func array(_ words: [[UInt8]]) -> [UInt8] {
        Array("*\(words.count)\r\n".utf8) + words.flatMap { Array("$\($0.count)\r\n".utf8) + $0 + [13, 10] }
    }

    static func requests(_ count: Int, using random: inout SeededGenerator) -> [UInt8] {
        var stream: [UInt8] = []
        for _ in 0..<count {
            switch Int.random(in: 0..<12, using: &random) {
            case 0:
                let lines = [
                    "PING\r\n", "  ping\n", "\r\n", "*0\r\n", "*-1\r\n", "get   a  \r\n", "\"GET\" a\r\n", "*00\r\n",
                    String(repeating: "q", count: 70) + " x\n",
                ]
                stream += Array((lines.randomElement(using: &random) ?? "").utf8)
            case 1: stream += array([name(using: &random), bytes(upTo: 9000, using: &random)])
            case 2: stream += array([name(using: &random)] + (0..<Int.random(in: 0...130, using: &random)).map { Array("\($0)".utf8) })
            case 3: stream += pipeline(using: &random)
            default:
                let arguments = (0..<Int.random(in: 0...5, using: &random)).map { _ in bytes(upTo: 30, using: &random) }
                stream += array([name(using: &random)] + arguments)
            }
        }
        return stream
    }

    /// Requests of one shape, but for a few.
    private static func pipeline(using random: inout SeededGenerator) -> [UInt8] {
        let name = name(using: &random), lengths = (0..<Int.random(in: 0...3, using: &random)).map { _ in Int.random(in: 0...120, using: &random) }
        return (0..<Int.random(in: 1...20, using: &random)).flatMap { _ in
            var lengths = lengths
            if let changed = lengths.indices.randomElement(using: &random), Int.random(in: 0..<8, using: &random) == 0 {
                lengths[changed] = Int.random(in: 0...120, using: &random)
            }
            let start = Int.random(in: 0..<1000, using: &random)
            return array([name] + lengths.map { Array(noise[start..<(start + $0)]) })
        }
    }

    private static func name(using random: inout SeededGenerator) -> [UInt8] {
        let names = ["GET", "set", "Incr", "MGET", "GEORADIUSBYMEMBER_RO", "x", "EIGHTCHR", "NINECHARS", "SEVENTEENCHARSLNG"]
        switch Int.random(in: 0..<20, using: &random) {
        case 0: return (0..<Int.random(in: 1...80, using: &random)).map { _ in UInt8.random(in: 33...126, using: &random) }
        case 1: return Array(String(repeating: "Ab", count: Int.random(in: 8...35, using: &random)).utf8)
        default: return Array((names.randomElement(using: &random) ?? "GET").utf8)
        }
    }

    /// A piece of noise, or of a text that looks like requests. Slices of what was made once: a debug build is slow by byte.
    private static func bytes(upTo limit: Int, using random: inout SeededGenerator) -> [UInt8] {
        let source = Bool.random(using: &random) ? noise : trap
        let start = Int.random(in: 0..<1000, using: &random)
        return Array(source[start..<(start + Int.random(in: 0...limit, using: &random))])
    }

    private static let trap = Array(repeating: Array("*2\r\n$3\r\nGET\r\n$1\r\nx\r\nPING\r\n$5\r\n".utf8), count: 400).flatMap { $0 }
    private static let noise: [UInt8] = {
        var random = SeededGenerator(seed: 1)
        return (0..<12_000).map { _ in UInt8.random(in: 0...255, using: &random) }
    }()
}
