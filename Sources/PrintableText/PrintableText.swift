/// Makes text from outside safe to print: names of processes, files, functions, commands and hosts, and replies of servers.
///
/// A terminal obeys control characters, and any local user can put them into a process name. Characters that reorder or hide others falsify
/// a line. All of them become visible escapes: `\n`, `\x1b`, `\u{202e}`. A backslash stays unchanged, so escaping twice has no further
/// effect.
extension String {
    public var printable: String {
        // Nearly all text is plain ASCII and is returned unchanged.
        if utf8.allSatisfy({ $0 >= 0x20 && $0 < 0x7f }) { return self }
        var text = String.UnicodeScalarView()
        for scalar in unicodeScalars {
            if scalar.isPrintable { text.append(scalar) } else { text.append(contentsOf: scalar.visibleEscape.unicodeScalars) }
        }
        return String(text)
    }
}

extension Unicode.Scalar {
    /// Whether the character is printed as itself: assigned, and not a control (C0, DEL, C1), a direction mark, of zero width, or a line
    /// separator.
    public var isPrintable: Bool {
        switch properties.generalCategory {
        case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator, .paragraphSeparator: false
        default: true
        }
    }

    fileprivate var visibleEscape: String {
        switch self {
        case "\n": return "\\n"
        case "\r": return "\\r"
        case "\t": return "\\t"
        default: break
        }
        let digits = String(value, radix: 16)
        guard value >= 0x80 else { return "\\x" + (digits.utf8.count < 2 ? "0" : "") + digits }
        return "\\u{\(digits)}"
    }
}
