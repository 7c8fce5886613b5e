import Glibc
import SystemPackage

/// The internal OpenSSL functions that SSL_read, SSL_write and their _ex forms call: `ssl_read_internal` and `ssl_write_internal`, by the
/// names in OpenSSL's source, which a stripped library lacks. Returns file offsets, as uprobes need them. A function that can't be
/// identified with certainty is missing.
///
/// If the kernel can't emulate a probed instruction, it runs it in single step, which on a virtual machine took 5.8 us instead of 0.6
/// (Linux 6.18). SSL_read and SSL_write begin with such an instruction (`sub`, `endbr64`). In Debian's OpenSSL 3.0 and 3.5 the internal
/// functions begin with a `push`, which is emulated; in 3.6 they begin with a `sub`, and are not used.
///
/// `functions`: the file offsets of SSL_read, SSL_read_ex, SSL_write, SSL_write_ex, and SSL_write_ex2, which OpenSSL 3.3 introduced. If it
/// exists, ssl_write_internal has its arguments, otherwise those of SSL_write_ex. x86-64 only.
public func openSSLInternals(inFile path: String, calledBy functions: [String: UInt64]) -> [String: UInt64] {
    guard let file = try? OpenFile(at: FileDescriptor(rawValue: AT_FDCWD), path) else { return [:] }
    var found: [String: UInt64] = [:]
    for (name, plain) in [("ssl_read_internal", "SSL_read"), ("ssl_write_internal", "SSL_write")] {
        let flags = functions[plain + "_ex2"] != nil
        guard let start = functions[plain], let extended = functions[plain + (flags ? "_ex2" : "_ex")] else { continue }
        let one = HandOver(file.code(at: start, count: 96), at: start), other = HandOver(file.code(at: extended, count: 96), at: extended)
        // The last argument of the plain form is a pointer to a local count; that of the other form is the caller's pointer.
        guard one.count == (flags ? .fifthArgument : .fourthArgument), other.count == .callersArgument else { continue }
        let common = one.callees.intersection(other.callees)
        guard common.count == 1, let callee = common.first, let push = offsetOfPush(file.code(at: callee, count: 8)) else { continue }
        found[name] = callee + push
    }
    return found
}

/// The calls of a short function, found without decoding its instructions. Comparing two functions removes wrong guesses.
private struct HandOver {
    /// File offsets of possible callees before the first return: those with the alignment of functions.
    private(set) var callees: Set<UInt64> = []
    enum Count { case callersArgument, fourthArgument, fifthArgument, unknown }

    /// The pointer to a count that it passes: an address on its own stack, or its caller's argument, in any position.
    let count: Count

    init(_ code: [UInt8], at offset: UInt64) {
        let body = code.prefix { $0 != 0xc3 }  // ret
        for index in body.indices where body[index] == 0xe8 && index + 5 <= body.count {  // call rel32
            let distance = body[(index + 1)...(index + 4)].reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
            let target = offset &+ UInt64(index) &+ 5 &+ UInt64(bitPattern: Int64(Int32(bitPattern: distance)))
            if target % 16 == 0 { callees.insert(target) }
        }
        func has(_ pattern: [UInt8]) -> Bool {
            body.indices.contains { body[$0...].starts(with: pattern) }
        }
        // mov %rsp,%rcx; lea N(%rsp),%rcx
        let fourth = has([0x48, 0x89, 0xe1]) || has([0x48, 0x8d, 0x4c, 0x24])
        // mov %rsp,%r8; lea N(%rsp),%r8
        let fifth = has([0x49, 0x89, 0xe0]) || has([0x4c, 0x8d, 0x44, 0x24])
        // mov %rcx,%r8; xor %ecx,%ecx before the call: the fourth argument becomes the fifth, after the flags
        let beforeCall = body.prefix { $0 != 0xe8 }
        let moves = has([0x49, 0x89, 0xc8]), clears = beforeCall.indices.contains { beforeCall[$0...].starts(with: [0x31, 0xc9]) }
        count =
            switch (fourth, fifth, moves, clears) {
            case (true, false, false, false): .fourthArgument
            case (false, true, false, true): .fifthArgument
            case (false, false, false, false): .callersArgument
            default: .unknown
            }
    }
}

/// Whether the kernel runs a probe at a function's beginning (a file offset) in single step, because the first instruction can't be
/// emulated.
public func isSteppedWhenProbed(at offset: UInt64, inFile path: String) -> Bool {
    guard let file = try? OpenFile(at: FileDescriptor(rawValue: AT_FDCWD), path) else { return false }
    return offsetOfPush(file.code(at: offset, count: 8)) != 0
}

/// The offset of the push at the beginning of a function, after an `endbr64`; nil if it begins otherwise.
private func offsetOfPush(_ code: [UInt8]) -> UInt64? {
    let start = code.starts(with: [0xf3, 0x0f, 0x1e, 0xfa]) ? 4 : 0
    guard start + 1 < code.count else { return nil }
    let isPush = (0x50...0x57).contains(code[start]) || (code[start] == 0x41 && (0x50...0x57).contains(code[start + 1]))
    return isPush ? UInt64(start) : nil
}

extension OpenFile {
    fileprivate func code(at offset: UInt64, count: Int) -> [UInt8] {
        guard let offset = Int64(exactly: offset) else { return [] }
        let bytes = try? [UInt8](unsafeUninitializedCapacity: count) { buffer, read in
            read = try descriptor.read(fromAbsoluteOffset: offset, into: UnsafeMutableRawBufferPointer(buffer))
        }
        return bytes ?? []
    }
}
