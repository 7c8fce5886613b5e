/// A system call that a trace has seen to return, or to end with its thread.
public struct TracedCall: Sendable {
    public var call: SystemCall
    /// The number that the caller gave, if no table has it; without the bit of x32.
    public var unknownNumber: Int32?
    public var pid: Int32
    public var tid: Int32
    /// The thread's name.
    public var comm: String
    /// As the registers had them; nil if they are not known. There are six, whatever the call takes.
    public var arguments: [UInt64]?
    /// Nil: its entry was not seen, because it began before the session, seccomp or a tracer skipped it, or it made its thread one of the session's.
    public var entered: Nanoseconds?
    /// It began before the session.
    public var beganBefore: Bool
    /// When it returned, or its thread ended.
    public var ended: Nanoseconds
    /// Nil: its thread ended in it.
    public var returned: Int64?

    public init(
        call: SystemCall, given: Int32 = 0, pid: Int32, tid: Int32, comm: String, arguments: [UInt64]?, entered: Nanoseconds?,
        beganBefore: Bool = false, ended: Nanoseconds, returned: Int64?
    ) {
        self.call = call
        if !call.hasNumber {
            unknownNumber = given
            // A negative number is of no table, though it has the bit of x32.
            if call.table == .x32 { if given < 0 { self.call = SystemCall(call.number) } else { unknownNumber = given & ~(1 << 30) } }
        }
        self.pid = pid
        self.tid = tid
        self.comm = comm
        self.arguments = arguments
        self.entered = entered
        self.beganBefore = beganBefore
        self.ended = ended
        self.returned = returned
    }
}

/// An argument that a system call takes.
public struct CallArgument: Equatable, Sendable {
    /// How its number is shown.
    public enum Kind: Equatable, Sendable {
        /// In hexadecimal: an address, flags.
        case hexadecimal
        /// In octal: the mode of a file.
        case octal
        /// In decimal, of so many bits; 64 bits without a sign that are more than 32 in hexadecimal, because that is an address.
        case signed(bits: Int)
        case unsigned(bits: Int)
    }

    public let name: String
    public let kind: Kind

    public init(name: String, kind: Kind) {
        self.name = name
        self.kind = kind
    }

    /// By its declaration in C, `const char * filename`.
    public init?(declaration: String) {
        var words = declaration.split(whereSeparator: { $0 == " " || $0 == "*" }).map(String.init)
        guard words.count > 1 else { return nil }
        name = words.removeLast()
        let type = words.filter { $0 != "const" }.joined(separator: " ")
        kind = Self.kind(ofType: declaration.contains("*") ? "*" : type, name: name)
    }

    private static func kind(ofType type: String, name: String) -> Kind {
        // Some calls declare a descriptor without a sign, and take -1.
        if name == "fd" || name.hasSuffix("dfd") { return .signed(bits: 32) }
        if ["flag", "prot", "mask", "addr"].contains(where: name.contains) || ["start", "brk", "newsp", "tls"].contains(name) { return .hexadecimal }
        switch type {
        case "umode_t": return .octal
        case "int", "pid_t", "key_t", "clockid_t", "timer_t", "mqd_t", "rwf_t", "key_serial_t": return .signed(bits: 32)
        case "unsigned int", "unsigned", "u32", "__u32", "uid_t", "gid_t", "qid_t", "old_uid_t", "old_gid_t": return .unsigned(bits: 32)
        case "long", "loff_t", "off_t", "time_t", "__s64", "long long": return .signed(bits: 64)
        case "unsigned long", "size_t", "u64", "__u64", "aio_context_t", "unsigned long long": return .unsigned(bits: 64)
        default: return .hexadecimal
        }
    }

    /// A number that nothing is known of.
    public static let unknown = CallArgument(name: "", kind: .hexadecimal)

    public func text(_ value: UInt64) -> String {
        switch kind {
        case .hexadecimal: "0x" + String(value, radix: 16)
        case .octal: value & 0xffff == 0 ? "0" : "0" + String(value & 0xffff, radix: 8)
        case .signed(32): String(Int32(truncatingIfNeeded: value))
        case .signed: String(Int64(bitPattern: value))
        case .unsigned(32): String(UInt32(truncatingIfNeeded: value))
        case .unsigned: value >> 32 == 0 ? String(value) : "0x" + String(value, radix: 16)
        }
    }
}
