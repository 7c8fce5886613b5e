import CLibdwReference
import Foundation
import KilnBPF
import KilnSymbols
import SystemPackage
import Testing

/// libdw's call frame information of a file, and the comparison of a table with it.
final class FrameReference {
    private let handle: OpaquePointer
    /// What libdw reads an image from.
    private let image: UnsafeMutableRawBufferPointer?

    init?(_ path: String, isDebugFrame: Bool = false) {
        guard let handle = reference_open(path, isDebugFrame) else { return nil }
        self.handle = handle
        image = nil
    }

    init?(image bytes: [UInt8]) {
        let image = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 16)
        image.copyBytes(from: bytes)
        guard let handle = reference_open_image(image.baseAddress, bytes.count) else {
            image.deallocate()
            return nil
        }
        self.handle = handle
        self.image = image
    }

    deinit {
        reference_close(handle)
        image?.deallocate()
    }

    func frame(at address: UInt64) -> reference_frame? {
        var frame = reference_frame()
        return reference_frame_at(handle, address, &frame) ? frame : nil
    }

    /// How a table compares, over every row of libdw's.
    struct Comparison {
        var equal = 0
        /// The table says that it can't express the row.
        var unsupported = 0
        var differing: [String] = []
        /// Stretches of addresses for which both have nothing.
        var uncovered = 0
        /// Bytes between functions for which libdw has nothing, and the table lets the row before go on.
        var padding = 0
        /// Rows by rule.
        var rules: [UInt32: Int] = [:]
    }

    /// Walks all addresses of a table from one row of libdw's to the next.
    func compare(_ table: UnwindTable) -> Comparison {
        var result = Comparison()
        var address = table.base
        let end = table.base + UInt64(table.granuleCount) << 8
        let rows = table.rows
        var next = 0
        while address < end {
            while next < rows.count, table.base + UInt64(rows[next].pc) <= address { next += 1 }
            let row = rows[next - 1]
            let rowEnd = next < rows.count ? table.base + UInt64(rows[next].pc) : end
            guard let frame = frame(at: address) else {
                if row.rule == UInt8(KILN_UNWIND_NONE.rawValue) {
                    result.uncovered += 1
                    address = rowEnd
                } else {
                    result.padding += 1
                    address += 1
                }
                continue
            }
            if row.rule == UInt8(KILN_UNWIND_UNSUPPORTED.rawValue) {
                result.unsupported += 1
            } else if Self.isSame(row, frame) {
                result.equal += 1
            } else {
                result.differing.append("\(String(address, radix: 16)): \(row) but \(Self.text(frame))")
            }
            result.rules[UInt32(row.rule), default: 0] += 1
            // A row of either side may be longer.
            address = max(address + 1, min(frame.end, rowEnd))
        }
        return result
    }

    typealias Operation = (atom: Int, first: Int64, second: Int64)

    static func operations(_ location: reference_location) -> [Operation] {
        withUnsafeBytes(of: location.operations) { bytes in
            bytes.bindMemory(to: reference_operation.self).prefix(Int(location.count)).map {
                (Int($0.atom), Int64(bitPattern: $0.first), Int64(bitPattern: $0.second))
            }
        }
    }

    private static func text(_ frame: reference_frame) -> String {
        "cfa \(operations(frame.canonical_address)) ra \(frame.return_address.kind) \(operations(frame.return_address))"
            + " fp \(frame.frame_pointer.kind) \(operations(frame.frame_pointer)) signal \(frame.is_signal)"
    }

    private static let (breg6, breg7, bregx, deref, plus, regx, callFrame) = (0x76, 0x77, 0x92, 0x06, 0x23, 0x90, 0x9c)

    /// Whether a row says what libdw says: DWARF registers 6 rbp, 7 rsp, 16 the return address.
    static func isSame(_ row: kiln_unwind_row, _ frame: reference_frame) -> Bool {
        let isUndefined = frame.return_address.kind == REFERENCE_UNDEFINED
        if row.rule == UInt8(KILN_UNWIND_END.rawValue) || isUndefined {
            return isUndefined && row.rule == UInt8(KILN_UNWIND_END.rawValue)
        }
        let returned = operations(frame.return_address)
        let canonical = operations(frame.canonical_address)
        let offset = Int64(row.offset) * 8
        let words = Int64(row.offset >> KILN_UNWIND_REGISTER_SHIFT) * 8
        let register = Int64(row.offset & Int16(KILN_UNWIND_REGISTER_MASK))
        let expected: [Operation]
        switch kiln_unwind_rule(rawValue: UInt32(row.rule)) {
        case KILN_UNWIND_SP: expected = [(bregx, 7, offset)]
        case KILN_UNWIND_SP_FAR: expected = [(bregx, 7, (Int64(KILN_UNWIND_FAR) + Int64(UInt16(bitPattern: row.offset))) * 8)]
        case KILN_UNWIND_FP: expected = [(bregx, 6, offset)]
        case KILN_UNWIND_DEREFERENCE_FP: expected = [(breg6, offset, 0), (deref, 0, 0)]
        case KILN_UNWIND_DEREFERENCE_SP: expected = [(breg7, offset, 0), (deref, 0, 0)]
        case KILN_UNWIND_DEREFERENCE_SP_8: expected = [(breg7, offset, 0), (deref, 0, 0), (plus, 8, 0)]
        case KILN_UNWIND_REGISTER: expected = [(bregx, register, words)]
        case KILN_UNWIND_RETURN_REGISTER: expected = [(bregx, 7, words)]
        case KILN_UNWIND_PLT:
            // breg7 8; breg16 0; lit15; and; litN; ge; lit3; shl; plus
            expected = [
                (breg7, 8, 0), (0x80, 0, 0), (0x3f, 0, 0), (0x1a, 0, 0), (0x30 + Int(row.offset), 0, 0), (0x2a, 0, 0),
                (0x33, 0, 0), (0x24, 0, 0), (0x22, 0, 0),
            ]
        case KILN_UNWIND_SIGNAL:
            return frame.is_signal && isSame(canonical, [(breg7, 160, 0), (deref, 0, 0)])
                && isSame(returned, [(callFrame, 0, 0), (breg7, 168, 0)])
                && isSame(operations(frame.frame_pointer), [(callFrame, 0, 0), (breg7, 120, 0)])
        default: return false
        }
        let isReturned =
            row.rule == UInt8(KILN_UNWIND_RETURN_REGISTER.rawValue)
            ? isSame(returned, [(regx, register, 0)]) : isSame(returned, [(callFrame, 0, 0), (plus, -8, 0)])
        return isSame(canonical, expected) && isReturned && isSameFramePointer(row, frame, canonical)
    }

    private static func isSameFramePointer(_ row: kiln_unwind_row, _ frame: reference_frame, _ canonical: [Operation]) -> Bool {
        let saved = operations(frame.frame_pointer)
        switch Int32(row.frame_pointer) {
        case KILN_UNWIND_FP_SAME: return frame.frame_pointer.kind == REFERENCE_SAME
        case KILN_UNWIND_FP_UNDEFINED: return frame.frame_pointer.kind == REFERENCE_UNDEFINED
        case KILN_UNWIND_FP_AT_FP: return isSame(saved, [(callFrame, 0, 0), (breg6, 0, 0)])
        case let words:
            return isSame(saved, [(callFrame, 0, 0), (plus, Int64(words) * 8, 0)])
                || canonical.count == 1 && saved.count == 2 && saved[1].atom == 0x70 + Int(canonical[0].first)
                    && saved[1].first - canonical[0].second == Int64(words) * 8
        }
    }

    private static func isSame(_ one: [Operation], _ other: [Operation]) -> Bool {
        one.elementsEqual(other) { $0.atom == $1.atom && $0.first == $1.first && $0.second == $1.second }
    }
}

func unwindTable(of path: String) throws -> UnwindTable {
    let file = try FileDescriptor.open(FilePath(path), .readOnly, options: .closeOnExec)
    return try file.closeAfter { try UnwindTable(reading: file, named: path) }
}

/// The rules of a table's rows at an address, for tests that look at one place.
extension UnwindTable {
    func rule(at address: UInt64) -> kiln_unwind_rule? { row(at: address).map { kiln_unwind_rule(rawValue: UInt32($0.rule)) } }
}
