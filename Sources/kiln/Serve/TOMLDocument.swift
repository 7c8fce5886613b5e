import CTOML

/// A place in a text; both numbers begin at 1, and a column counts Unicode scalars.
struct TextPlace: Equatable, Comparable {
    var line: Int
    var column: Int

    static func < (one: TextPlace, other: TextPlace) -> Bool { (one.line, one.column) < (other.line, other.column) }
}

/// What is wrong at a place of a text.
struct TextFault: Error, Equatable {
    var place: TextPlace
    var reason: String
}

/// The values at the top of a TOML document (version 1.0.0), in the order in which they stand there.
struct TOMLDocument {
    enum Scalar: Equatable {
        case string(String)
        case integer(Int64)
        case number(Double)
        case boolean(Bool)
        /// A date, a time of day, or both.
        case time
        /// A table, or an array within an array. What it holds is not read.
        case nested
    }

    struct Element {
        var place: TextPlace
        var scalar: Scalar
    }

    struct Entry {
        var key: String
        var keyPlace: TextPlace
        var isArray: Bool
        /// One, unless it is an array.
        var elements: [Element]
    }

    private(set) var entries: [Entry] = []

    /// Throws a `TextFault` for what is no TOML.
    init(_ bytes: [UInt8]) throws {
        // toml++ names the place before the byte.
        if let place = Self.malformedPlace(in: bytes) { throw TextFault(place: place, reason: "a byte that is no UTF-8") }
        var error = kiln_toml_error()
        let isRead = withUnsafeMutablePointer(to: &entries) { entries in
            bytes.withUnsafeBytes { bytes in
                bytes.withMemoryRebound(to: CChar.self) { text in
                    kiln_toml_read(
                        text.baseAddress, text.count,
                        { value, entries in
                            guard let value, let entries else { return }
                            Self.take(value.pointee, into: &entries.assumingMemoryBound(to: [Entry].self).pointee)
                        }, entries, &error)
                }
            }
        }
        guard isRead else {
            let reason = withUnsafeBytes(of: error.description) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
            throw TextFault(place: TextPlace(error.place), reason: reason)
        }
        entries.sort { $0.keyPlace < $1.keyPlace }
    }

    private static func take(_ value: kiln_toml_value, into entries: inout [Entry]) {
        let element = Element(place: TextPlace(value.place), scalar: Scalar(value))
        if value.is_element {
            entries[entries.count - 1].elements.append(element)
        } else {
            let key = String(decoding: UnsafeRawBufferPointer(start: value.key, count: value.key_length), as: UTF8.self),
                isArray = value.kind == KILN_TOML_ARRAY
            entries.append(Entry(key: key, keyPlace: TextPlace(value.key_place), isArray: isArray, elements: isArray ? [] : [element]))
        }
    }

    /// Of the first byte that is no UTF-8; nil if there is none.
    private static func malformedPlace(in bytes: [UInt8]) -> TextPlace? {
        var decoder = UTF8(), iterator = bytes.makeIterator(), place = TextPlace(line: 1, column: 1)
        while true {
            switch decoder.decode(&iterator) {
            case .emptyInput: return nil
            case .error: return place
            case .scalarValue(let scalar):
                place = scalar == "\n" ? TextPlace(line: place.line + 1, column: 1) : TextPlace(line: place.line, column: place.column + 1)
            }
        }
    }
}

extension TextPlace {
    fileprivate init(_ place: kiln_toml_place) { self.init(line: Int(place.line), column: Int(place.column)) }
}

extension TOMLDocument.Scalar {
    fileprivate init(_ value: kiln_toml_value) {
        self =
            switch value.kind {
            case KILN_TOML_STRING: .string(String(decoding: UnsafeRawBufferPointer(start: value.text, count: value.length), as: UTF8.self))
            case KILN_TOML_INTEGER: .integer(value.integer)
            case KILN_TOML_NUMBER: .number(value.number)
            case KILN_TOML_BOOLEAN: .boolean(value.boolean)
            case KILN_TOML_TIME: .time
            default: .nested
            }
    }
}
