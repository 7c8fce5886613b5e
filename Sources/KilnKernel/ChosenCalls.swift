import Glibc
import KilnBPF
import KilnModel

extension kiln_chosen_calls {
    /// Nil: all, and numbers that no call has. None are those of this process.
    init(_ calls: (some Sequence<SystemCall>)?) {
        self.init()
        own_tgid = UInt32(bitPattern: getpid())
        guard let calls else { return }
        chooses = 1
        withUnsafeMutableBytes(of: &bits) { bytes in
            let words = bytes.bindMemory(to: UInt64.self), numbers = Int(KILN_ABI_NUMBERS)
            for call in calls where call.number < numbers {
                let bit = Int(call.table.rawValue) * numbers + call.number
                words[bit / 64] |= 1 << UInt64(bit % 64)
            }
        }
    }
}
