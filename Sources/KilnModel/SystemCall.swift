import Glibc
import KilnBPF

/// A system call: a number of one of the kernel's tables.
public struct SystemCall: Hashable, Comparable, Sendable, CustomStringConvertible {
    public enum Table: UInt32, CaseIterable, Sendable {
        case native
        /// Of 32-bit programs, and of `int 0x80` in others.
        case compat
        case x32

        /// Behind a call's name; empty for the native table.
        public var name: String {
            switch self {
            case .native: ""
            case .compat: "32-bit"
            case .x32: "x32"
            }
        }
    }

    /// As the kernel side has it: `KILN_CALL()`.
    public let rawValue: UInt32

    public init(rawValue: UInt32) { self.rawValue = rawValue }

    public init(_ number: Int, in table: Table = .native) { rawValue = table.rawValue << 16 | UInt32(number) & 0xffff }

    /// The call that stands in a stack for the kernel's frames; nil: this is an address.
    public init?(standingFor frame: UInt64) {
        guard frame >> 32 == KILN_CALL_FRAME >> 32 else { return nil }
        rawValue = UInt32(truncatingIfNeeded: frame)
    }

    public var table: Table { Table(rawValue: rawValue >> 16) ?? .native }
    public var number: Int { Int(rawValue & 0xffff) }

    /// A table may have its number.
    var hasNumber: Bool { rawValue & 0xffff != UInt32(KILN_NO_SUCH_NUMBER) }

    /// Its name in its table; `syscall_N` if it was unknown when kiln was built.
    public var name: String {
        if !hasNumber { return "unknown" }
        return kiln_syscall_name(table.rawValue, UInt32(number)).map { String(cString: $0) } ?? "syscall_\(number)"
    }

    /// `read`, `read (32-bit)`
    public var description: String { table == .native ? name : "\(name) (\(table.name))" }

    public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }

    /// All calls that have a name, of all tables.
    public static let named: [SystemCall] = Table.allCases.flatMap { table in
        (0..<Int(KILN_ABI_NUMBERS)).compactMap { number in
            kiln_syscall_name(table.rawValue, UInt32(number)).map { _ in SystemCall(number, in: table) }
        }
    }

    /// Those whose names match a pattern of the shell.
    public static func matching(_ pattern: String) -> [SystemCall] { named.filter { fnmatch(pattern, $0.name, 0) == 0 } }
}

/// The name of an error that a system call returns: `EAGAIN`. Calls that a signal interrupts return some that no program sees.
public func errnoName(_ number: Int) -> String { kiln_errno_name(UInt32(clamping: number)).map { String(cString: $0) } ?? "errno_\(number)" }

/// The number of a name that `errnoName` returns; nil for another text.
func errnoNumber(_ name: String) -> Int? {
    if name.hasPrefix("errno_") { return Int(name.dropFirst("errno_".count)) }
    return errnoNumbers[name]
}

private let errnoNumbers = Dictionary((1..<520).map { (errnoName($0), $0) }, uniquingKeysWith: { first, _ in first })
