import FoundationEssentials
import KilnModel
import PrintableText

/// One JSON object a line.
func jsonLines(_ records: [some Encodable]) throws -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    var text: [UInt8] = []
    for record in records {
        text += printableJSON(Array(try encoder.encode(record)))
        text.append(UInt8(ascii: "\n"))
    }
    return text
}

/// The content of samples.jsonl.
func samplesText(_ samples: SampleRecords) throws -> [UInt8] {
    try jsonLines([samples.header]) + jsonLines(samples.modules.modules) + jsonLines(samples.frames) + jsonLines(samples.stacks) + jsonLines(samples.groupLines)
        + jsonLines(samples.rows)
}

/// The same JSON, with terminal control characters as `\u` escapes. JSON encoders escape only those of C0.
func printableJSON(_ json: [UInt8]) -> [UInt8] {
    if json.allSatisfy({ $0 < 0x7f }) { return json }
    var text: [UInt8] = []
    for scalar in String(decoding: json, as: UTF8.self).unicodeScalars {
        if scalar.isPrintable || scalar == "\n" {
            text += scalar.utf8
        } else {
            for unit in String(scalar).utf16 {
                let digits = String(unit, radix: 16)
                text += "\\u\(String(repeating: "0", count: 4 - digits.count))\(digits)".utf8
            }
        }
    }
    return text
}
