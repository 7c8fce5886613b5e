import CZlib
import Flamegraph

/// The gzip format (RFC 1952).
public enum Gzip {
    /// What it may inflate to; a small file can claim to be huge.
    static let mostBytes = 1 << 32

    public static func isGzip(_ bytes: [UInt8]) -> Bool { bytes.starts(with: [0x1f, 0x8b, 8]) }

    public static func compressed(_ bytes: [UInt8]) -> [UInt8] {
        var stream = z_stream()
        // 31: the window of 15 bits, in a gzip file. Level 1 takes a third of the time of 6 for a sixth more bytes.
        let status = deflateInit2_(&stream, 1, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
        precondition(status == Z_OK, "zlib: \(status)")
        defer { deflateEnd(&stream) }
        var result: [UInt8] = [], piece = [UInt8](repeating: 0, count: 1 << 18)
        var rest = bytes[...]
        repeat {
            // zlib counts in 32 bits.
            let part = rest.prefix(1 << 30)
            rest = rest.dropFirst(part.count)
            part.withUnsafeBufferPointer { input in
                stream.next_in = UnsafeMutablePointer(mutating: input.baseAddress)
                stream.avail_in = uInt(input.count)
                repeat {
                    let count = piece.count
                    piece.withUnsafeMutableBufferPointer { output in
                        stream.next_out = output.baseAddress
                        stream.avail_out = uInt(count)
                        _ = deflate(&stream, rest.isEmpty ? Z_FINISH : Z_NO_FLUSH)
                    }
                    result += piece[..<(count - Int(stream.avail_out))]
                } while stream.avail_out == 0
            }
        } while !rest.isEmpty
        return result
    }

    /// What a file begins with, inflated if it is compressed; nil where it is damaged.
    static func beginning(_ bytes: [UInt8]) -> [UInt8]? {
        isGzip(bytes) ? try? inflated(bytes, limit: CollapseFormat.beginningLength) : bytes
    }

    /// The content of a gzip file, which may have several members.
    ///
    /// - Parameter limit: Bytes beyond it are left out instead of refused; nil for all.
    static func inflated(_ bytes: [UInt8], limit: Int? = nil) throws(UnreadableInput) -> [UInt8] {
        var stream = z_stream()
        guard inflateInit2_(&stream, 31, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)) == Z_OK else { throw UnreadableInput("zlib has no memory") }
        defer { inflateEnd(&stream) }
        var result: [UInt8] = [], piece = [UInt8](repeating: 0, count: 1 << 18), place = 0
        while true {
            let part = min(bytes.count - place, 1 << 30), count = piece.count
            var status = Z_OK
            bytes.withUnsafeBufferPointer { input in
                stream.next_in = input.baseAddress.map { UnsafeMutablePointer(mutating: $0 + place) }
                stream.avail_in = uInt(part)
                piece.withUnsafeMutableBufferPointer { output in
                    stream.next_out = output.baseAddress
                    stream.avail_out = uInt(count)
                    status = inflate(&stream, Z_NO_FLUSH)
                }
            }
            place += part - Int(stream.avail_in)
            result += piece[..<(count - Int(stream.avail_out))]
            if let limit, result.count >= limit { return result }
            guard result.count <= mostBytes else { throw UnreadableInput("it inflates to more than \(mostBytes >> 30) GiB") }
            switch status {
            case Z_OK: break
            case Z_STREAM_END:
                if place == bytes.count { return result }
                guard inflateReset(&stream) == Z_OK else { throw UnreadableInput("its gzip data is damaged") }
            case Z_BUF_ERROR where place == bytes.count:
                // The beginning of a file is enough where there is a limit.
                if limit != nil { return result }
                throw UnreadableInput("its gzip data is cut off")
            default: throw UnreadableInput("its gzip data is damaged")
            }
        }
    }
}
