/// A frame of a folded stack in its parts.
public struct FunctionName: Hashable, Sendable {
    /// Without the marks of flamegraph tools; with `[guess]`.
    public var name: String
    public var kind: Kind
    /// Of the source code, if the session has lines; not of Python's functions, whose names have their place in them.
    public var file: String?
    public var line: Int64?

    public enum Kind: String, CaseIterable, Sendable {
        case native = ""
        case kernel = "_[k]"
        case generated = "_[j]"
        case inlined = "_[i]"
    }

    public init(name: String) {
        self.name = name
        kind = .native
    }

    /// - Parameter folded: `name (file.c:12)_[k]`, of which the place and the mark may be missing.
    public init(folded: String) {
        var rest = Substring(folded)
        kind = .native
        for mark in [Kind.kernel, .generated, .inlined] where rest.hasSuffix(mark.rawValue) && rest.utf8.count > mark.rawValue.utf8.count {
            kind = mark
            rest = rest.dropLast(mark.rawValue.count)
            break
        }
        var guess = ""
        if rest.hasSuffix(Self.guess) {
            guess = Self.guess
            rest = rest.dropLast(guess.count)
        }
        if let (function, file, line) = Self.place(rest) {
            (rest, self.file, self.line) = (function, String(file), line)
        }
        name = rest + guess
    }

    /// The frame of a folded stack.
    /// - Parameter withPlace: With file and line, if they are known.
    public func folded(withPlace: Bool) -> String {
        var text = name, guess = ""
        if withPlace, let file {
            if text.hasSuffix(Self.guess) {
                guess = Self.guess
                text.removeLast(guess.count)
            }
            text += " (" + file + (line.map { ":\($0)" } ?? "") + ")"
        }
        return text + guess + kind.rawValue
    }

    private static let guess = " [guess]"

    /// `name (file:12)` in its parts; nil where it has no place.
    private static func place(_ text: Substring) -> (name: Substring, file: Substring, line: Int64)? {
        guard text.utf8.last == UInt8(ascii: ")"), !text.hasPrefix("py:"), let colon = text.utf8.lastIndex(of: UInt8(ascii: ":")),
            let line = Int64(text[text.utf8.index(after: colon)...].dropLast()), line >= 0,
            let open = text[..<colon].utf8.lastIndex(of: UInt8(ascii: "(")), open > text.startIndex
        else { return nil }
        let blank = text.utf8.index(before: open), file = text[text.utf8.index(after: open)..<colon]
        return file.isEmpty || blank == text.startIndex || text.utf8[blank] != UInt8(ascii: " ") ? nil : (text[..<blank], file, line)
    }
}
