import Glibc

/// A pattern that can't be used.
public struct FunctionPatternError: Error, Equatable, Sendable, CustomStringConvertible {
    public let pattern: String
    public let reason: String

    public var description: String { "the pattern \(pattern) \(reason)." }
}

/// A pattern of a shell for names: `*`, `?`, `[a-z]`, `[!a-z]`, and `\` before a character that means itself. It matches the whole name.
///
/// The C library's `fnmatch` takes exponential time for a pattern with several `*`; here a `*` is retried only until the next one matches,
/// so the time is at most the product of the lengths.
struct Glob {
    private enum Token {
        case any
        case one
        case byte(UInt8)
        case set([ClosedRange<UInt8>], isInverted: Bool)
    }

    private let tokens: [Token]

    init(_ pattern: String) throws(FunctionPatternError) {
        var tokens: [Token] = []
        var rest = Array(pattern.utf8)[...]
        while let byte = rest.popFirst() {
            switch byte {
            case UInt8(ascii: "*"):
                if case .any? = tokens.last { continue }
                tokens.append(.any)
            case UInt8(ascii: "?"):
                tokens.append(.one)
            case UInt8(ascii: "["):
                // Without ] it means itself, as in a shell.
                var inside = rest
                if let set = Self.set(&inside) {
                    tokens.append(set)
                    rest = inside
                } else {
                    tokens.append(.byte(byte))
                }
            case UInt8(ascii: "\\"):
                guard let next = rest.popFirst() else { throw FunctionPatternError(pattern: pattern, reason: "ends with a backslash") }
                tokens.append(.byte(next))
            default: tokens.append(.byte(byte))
            }
        }
        self.tokens = tokens
    }

    private static func set(_ rest: inout ArraySlice<UInt8>) -> Token? {
        var isInverted = false
        if let first = rest.first, first == UInt8(ascii: "!") || first == UInt8(ascii: "^") {
            isInverted = true
            rest.removeFirst()
        }
        var ranges: [ClosedRange<UInt8>] = [], isFirst = true
        while let low = rest.popFirst() {
            if low == UInt8(ascii: "]"), !isFirst { return .set(ranges, isInverted: isInverted) }
            isFirst = false
            if rest.count >= 2, rest[rest.startIndex] == UInt8(ascii: "-"), rest[rest.startIndex + 1] != UInt8(ascii: "]") {
                let high = rest[rest.startIndex + 1]
                rest.removeFirst(2)
                if low <= high { ranges.append(low...high) }
            } else {
                ranges.append(low...low)
            }
        }
        return nil
    }

    func matches(_ name: UnsafeBufferPointer<UInt8>) -> Bool {
        var token = 0, position = 0
        var retry: (token: Int, position: Int)?
        while position < name.count || token < tokens.count {
            if token < tokens.count {
                if case .any = tokens[token] {
                    retry = (token, position)
                    token += 1
                    continue
                }
                if position < name.count, let next = step(tokens[token], name, position) {
                    token += 1
                    position = next
                    continue
                }
            }
            // The last * takes one byte more.
            guard let last = retry, last.position < name.count else { return false }
            retry = (last.token, last.position + 1)
            token = last.token + 1
            position = last.position + 1
        }
        return true
    }

    private func step(_ token: Token, _ name: UnsafeBufferPointer<UInt8>, _ position: Int) -> Int? {
        switch token {
        case .byte(let byte): return name[position] == byte ? position + 1 : nil
        case .set(let ranges, let isInverted):
            return ranges.contains { $0.contains(name[position]) } != isInverted ? position + 1 : nil
        case .one:
            // A character of UTF-8 has continuation bytes.
            var next = position + 1
            while next < name.count, name[next] & 0xc0 == 0x80 { next += 1 }
            return next
        case .any: return nil
        }
    }
}

/// An extended regular expression (POSIX), which may match any part of a name.
///
/// The C library's matcher takes time in proportion to the name's length, as long as the expression has no back references; they are refused.
/// It multiplies bounded repetitions out, so these are limited.
private final class RegularExpression {
    private var compiled = regex_t()

    static let mostRepetitions = 1000

    init(_ pattern: String) throws(FunctionPatternError) {
        guard pattern.utf8.count <= 4096 else { throw FunctionPatternError(pattern: String(pattern.prefix(20)) + "…", reason: "is longer than 4096 bytes") }
        if let backslash = pattern.indices.first(where: { index in
            pattern[index] == "\\" && pattern.index(after: index) < pattern.endIndex && ("1"..."9").contains(pattern[pattern.index(after: index)])
        }) {
            throw FunctionPatternError(pattern: pattern, reason: "has a back reference (\(pattern[backslash...].prefix(2))): write the expression out")
        }
        guard Self.repetitions(in: pattern) <= Self.mostRepetitions else {
            throw FunctionPatternError(pattern: pattern, reason: "repeats more than \(Self.mostRepetitions) times: use * or +")
        }
        let code = regcomp(&compiled, pattern, REG_EXTENDED | REG_NOSUB)
        guard code == 0 else {
            let text = withUnsafeTemporaryAllocation(of: CChar.self, capacity: 256) { room -> String in
                regerror(code, &compiled, room.baseAddress, room.count)
                return room.baseAddress.map { String(cString: $0) } ?? "error \(code)"
            }
            throw FunctionPatternError(pattern: pattern, reason: "is no regular expression: \(text)")
        }
    }

    deinit { regfree(&compiled) }

    /// The product of all numbers in braces: no nesting repeats more often.
    private static func repetitions(in pattern: String) -> Int {
        var product = 1
        for brace in pattern.split(separator: "{", omittingEmptySubsequences: false).dropFirst() {
            let numbers = brace.prefix { $0 != "}" }.split(separator: ",").compactMap { Int($0) }
            product = product.multipliedReportingOverflow(by: max(1, numbers.max() ?? 1)).partialValue
            if product > mostRepetitions || product <= 0 { return Int.max }
        }
        return product
    }

    func matches(_ name: String) -> Bool { regexec(&compiled, name, 0, nil, 0) == 0 }
}

/// The forms of one name, made when a pattern needs them: demangling takes most of the time.
private struct NameForms {
    let symbol: String
    private(set) lazy var plain = demangled(symbol)
    private(set) lazy var signature = demangledSignature(symbol)

    init(_ symbol: String) { self.symbol = symbol }
}

/// Which functions are meant, by their names. A pattern is held against the linker's name and, for C++, Rust and Swift, against the name for
/// people: without parameters or, if the pattern has a parenthesis, with them.
public struct FunctionPatterns {
    private struct Pattern {
        enum Form {
            case glob(Glob, text: String)
            case expression(RegularExpression)
        }

        let form: Form
        let hasParameters: Bool

        func matches(_ name: inout NameForms) -> Bool {
            if matches(name.symbol) { return true }
            if hasParameters { return name.signature.map(matches) ?? false }
            return name.plain.map(matches) ?? false
        }

        private func matches(_ name: String) -> Bool {
            switch form {
            case .glob(let glob, let text):
                // A name may hold *, [ and ?: `operator*`.
                if name == text { return true }
                var name = name
                return name.withUTF8 { glob.matches($0) }
            case .expression(let expression): return expression.matches(name)
            }
        }
    }

    /// As given. Empty: every function.
    public let included: [String]
    private let includes: [Pattern]
    private let excludes: [Pattern]

    /// `isRegex`: all are extended regular expressions, not patterns of a shell.
    public init(_ included: [String] = [], excluding excluded: [String] = [], isRegex: Bool = false) throws(FunctionPatternError) {
        func pattern(_ text: String) throws(FunctionPatternError) -> Pattern {
            if text.isEmpty { throw FunctionPatternError(pattern: "''", reason: "is empty") }
            if isRegex {
                return Pattern(form: .expression(try RegularExpression(text)), hasParameters: text.contains("\\(") || text.contains("[(]"))
            }
            return Pattern(form: .glob(try Glob(text), text: text), hasParameters: text.contains("("))
        }
        self.included = included
        var includes: [Pattern] = [], excludes: [Pattern] = []
        for text in included { includes.append(try pattern(text)) }
        for text in excluded { excludes.append(try pattern(text)) }
        self.includes = includes
        self.excludes = excludes
    }

    /// Which of the names of one function is meant, by its number: the first that a pattern takes. Nil: none is, or the function is excluded.
    /// `matched` gets the numbers of all patterns that take one.
    public func choose(_ names: [String], matched: inout Set<Int>) -> Int? {
        if includes.isEmpty && excludes.isEmpty { return 0 }
        var forms = names.map { NameForms($0) }
        for pattern in excludes {
            for index in forms.indices where pattern.matches(&forms[index]) { return nil }
        }
        if includes.isEmpty { return 0 }
        var chosen: Int?
        for (number, pattern) in includes.enumerated() {
            guard let index = forms.indices.first(where: { pattern.matches(&forms[$0]) }) else { continue }
            matched.insert(number)
            chosen = min(chosen ?? index, index)
        }
        return chosen
    }
}
