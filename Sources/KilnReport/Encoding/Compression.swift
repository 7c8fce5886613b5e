import CZlib
import FoundationEssentials

/// Bytes in the zlib format (RFC 1950), which browsers inflate (`DecompressionStream("deflate")`).
func deflated(_ bytes: [UInt8]) -> [UInt8] {
    var length = compressBound(uLong(bytes.count))
    let compressed = [UInt8](unsafeUninitializedCapacity: Int(length)) { buffer, filled in
        // The highest level takes five times as long for half a percent.
        let status = compress2(buffer.baseAddress, &length, bytes, uLong(bytes.count), 7)
        // It fails without memory, or where the bound is wrong.
        precondition(status == Z_OK, "zlib: \(status)")
        filled = Int(length)
    }
    return compressed
}

func base64(_ bytes: [UInt8]) -> [UInt8] { Array(Data(bytes).base64EncodedData()) }

/// Whole numbers as bytes: seven bits in each, the lowest first; the highest bit says that more follow (LEB128).
struct NumberWriter {
    private(set) var bytes: [UInt8] = []

    mutating func write(_ number: UInt64) {
        var rest = number
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(rest))
    }

    mutating func write(_ number: some BinaryInteger) { write(UInt64(number)) }

    /// Bytes of another writer, with their number before them.
    mutating func write(_ part: NumberWriter) {
        write(part.bytes.count)
        bytes += part.bytes
    }
}
