/// What a frame is looked up by: its bytes when it has at most sixteen, a hash when it has more.
struct FrameKey: BitwiseCopyable, Equatable {
    /// The first eight bytes, the lowest address in the lowest bits, zeros above the last; or a 64-bit hash.
    var first: UInt64
    /// The bytes after them, or 0 beside a hash.
    var second: UInt64
    var length: UInt32

    /// Whether equal keys mean equal bytes.
    @inline(__always)
    var holdsAllBytes: Bool { length <= 16 }

    @inline(__always)
    var tableHash: UInt64 {
        let product = (first ^ 0x9e37_79b9_7f4a_7c15).multipliedFullWidth(
            by: second ^ UInt64(length) << 57 ^ 0xd6e8_feb8_6659_fd93)
        return product.high ^ product.low
    }

    /// The key of the frame at `start`: it ends at a semicolon or after `limit` bytes.
    /// Bytes up to `readableEnd` may be loaded.
    @inline(__always)
    static func scan(_ start: UnsafeRawPointer, limit: Int, readableEnd: UnsafeRawPointer) -> FrameKey {
        guard readableEnd - start >= 16 else { return scanAtEnd(start, limit: limit) }
        let low = UInt64(littleEndian: start.loadUnaligned(as: UInt64.self))
        let high = UInt64(littleEndian: start.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
        // 64 >> 3 = 8 bytes when a word has no semicolon.
        let inLow = semicolonMarks(low).trailingZeroBitCount >> 3
        let inHigh = semicolonMarks(high).trailingZeroBitCount >> 3
        let length = min(inLow < 8 ? inLow : 8 &+ inHigh, limit)
        if length == 16, limit > 16, (start + 16).load(as: UInt8.self) != UInt8(ascii: ";") {
            return scanLong(start, limit: limit)
        }
        return FrameKey(
            first: low & lowBytes(min(length, 8)), second: high & lowBytes(max(length, 8) &- 8),
            length: UInt32(truncatingIfNeeded: length))
    }

    /// The same for a frame so near the end of memory that words can't be loaded.
    @inline(never)
    private static func scanAtEnd(_ start: UnsafeRawPointer, limit: Int) -> FrameKey {
        var words: (UInt64, UInt64) = (0, 0)
        var length = 0
        while length < limit {
            let byte = start.load(fromByteOffset: length, as: UInt8.self)
            if byte == UInt8(ascii: ";") { break }
            if length < 8 {
                words.0 |= UInt64(byte) << UInt64(8 * length)
            } else {
                words.1 |= UInt64(byte) << UInt64(8 * (length - 8))
            }
            length += 1
        }
        return FrameKey(first: words.0, second: words.1, length: UInt32(length))
    }

    @inline(never)
    private static func scanLong(_ start: UnsafeRawPointer, limit: Int) -> FrameKey {
        let end = find(UInt8(ascii: ";"), from: start + 16, to: start + limit)
        let bytes = UnsafeRawBufferPointer(start: start, count: end - start)
        return FrameKey(first: ByteHash.hash(bytes), second: 0, length: UInt32(bytes.count))
    }

    @inline(__always)
    private static func lowBytes(_ count: Int) -> UInt64 {
        count == 8 ? .max : (1 &<< UInt64(truncatingIfNeeded: 8 &* count)) &- 1
    }

    @inline(__always)
    private static func semicolonMarks(_ word: UInt64) -> UInt64 { zeroByteMarks(word ^ repeated(UInt8(ascii: ";"))) }
}

/// A word with `byte` in each of its eight bytes.
@inline(__always)
private func repeated(_ byte: UInt8) -> UInt64 { 0x0101_0101_0101_0101 &* UInt64(byte) }

/// The high bit of the lowest zero byte, and perhaps of bytes above it; 0 when no byte is zero.
@inline(__always)
private func zeroByteMarks(_ word: UInt64) -> UInt64 { (word &- repeated(1)) & ~word & repeated(0x80) }

/// The place of the first such byte, or `end`.
func find(_ byte: UInt8, from start: UnsafeRawPointer, to end: UnsafeRawPointer) -> UnsafeRawPointer {
    var cursor = start
    while end - cursor >= 8 {
        let marks = zeroByteMarks(UInt64(littleEndian: cursor.loadUnaligned(as: UInt64.self)) ^ repeated(byte))
        if marks != 0 { return cursor + (marks.trailingZeroBitCount >> 3) }
        cursor += 8
    }
    while cursor < end, cursor.load(as: UInt8.self) != byte { cursor += 1 }
    return cursor
}

/// The place of the last such byte, or nil.
func findLast(_ byte: UInt8, from start: UnsafeRawPointer, to end: UnsafeRawPointer) -> UnsafeRawPointer? {
    var cursor = end
    while cursor - start >= 8 {
        let word = UInt64(bigEndian: (cursor - 8).loadUnaligned(as: UInt64.self))
        let marks = zeroByteMarks(word ^ repeated(byte))
        if marks != 0 { return cursor - 1 - (marks.trailingZeroBitCount >> 3) }
        cursor -= 8
    }
    while cursor > start {
        cursor -= 1
        if cursor.load(as: UInt8.self) == byte { return cursor }
    }
    return nil
}

/// A 64-bit hash over little-endian words; the last, partial word is padded with zeros.
///
/// It spreads names over tables and colours. It is no defence against chosen collisions:
/// those cost time, never a wrong result.
enum ByteHash {
    static func hash(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
        var state: UInt64 = 0x9e37_79b9_7f4a_7c15 ^ UInt64(bytes.count)
        var offset = 0
        while bytes.count - offset >= 8 {
            state = mixed(state, UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)))
            offset += 8
        }
        var tail: UInt64 = 0
        let rest = bytes.count - offset
        if rest > 0, bytes.count >= 8 {
            // The last eight bytes, without those that are in the word before.
            let last = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: bytes.count - 8, as: UInt64.self))
            tail = last >> UInt64(8 * (8 - rest))
        } else {
            for index in offset..<bytes.count { tail |= UInt64(bytes[index]) << UInt64(8 * (index - offset)) }
        }
        return mixed(mixed(state, tail), 0x2545_f491_4f6c_dd1d)
    }

    @inline(__always)
    private static func mixed(_ state: UInt64, _ word: UInt64) -> UInt64 {
        let product = (state ^ word).multipliedFullWidth(by: 0xd6e8_feb8_6659_fd93)
        return product.high ^ product.low
    }
}

/// Whether `length` bytes at two places are the same.
@inline(__always)
func equalBytes(_ left: UnsafeRawPointer, _ right: UnsafeRawPointer, _ length: Int) -> Bool {
    if length >= 8 {
        var offset = 0
        let last = length - 8
        while offset < last {
            if left.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
                != right.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
            {
                return false
            }
            offset += 8
        }
        return left.loadUnaligned(fromByteOffset: last, as: UInt64.self)
            == right.loadUnaligned(fromByteOffset: last, as: UInt64.self)
    }
    for offset in 0..<length
    where left.load(fromByteOffset: offset, as: UInt8.self) != right.load(fromByteOffset: offset, as: UInt8.self) {
        return false
    }
    return true
}
