import Glibc
import KilnBPF
import KilnModel

/// Which part of the requests is watched: `requests/watch.bpf.h`. Only of a probe that is made with `watchVaries`.
extension CommandProbe {
    /// Begins a slice: another share of the connections is watched, chosen at random. `share`: more than 0, up to 1. `isSampled`: a part of all receives
    /// is left out, of the connections or of the time.
    public func beginSlice(share: Double, isSampled: Bool) {
        control.pointee.watch.sampled = isSampled ? 1 : 0
        control.pointee.watch.share = UInt64(share * Double(KILN_WATCH_ALL))
        control.pointee.watch.salt = UInt64.random(in: 0...UInt64.max)
        control.pointee.watch.slice &+= 1
    }

    /// No more receives are watched; what is in flight may still be answered.
    public func close() { control.pointee.watch.closed = 1 }

    /// Receives are watched from now on.
    public func open() { control.pointee.watch.closed = 0 }

    /// Detaches the programs, to attach them again later. Those of OpenSSL stay where nobody encrypts: nothing calls them there.
    public mutating func pause() { object.detach(backTo: control.pointee.watch.has_tls != 0 ? 0 : attachmentsOfTLS) }

    /// Attaches the programs again, closed: a window begins.
    public mutating func unpause() throws(KernelError) {
        control.pointee.watch.window &+= 1
        if object.attachmentCount == 0 { _ = attachTLS { _, _ in } }
        for program in hook.programs(for: side) { try object.attach(program) }
    }
}

extension Turns {
    /// Stacks of threads that received or sent last before `time` have no label; nil: none has one until the next call.
    public func watch(from time: Nanoseconds?) throws(KernelError) {
        let map = map
        var turn = kiln_turn()
        for process in 0..<UInt32(KILN_MAX_TARGETS) {
            guard try withUnsafeMutableBytes(of: &turn, { (bytes) throws(KernelError) in try map.read(process, into: bytes) }) else { continue }
            turn.watched_from_ns = time?.count ?? UInt64.max
            try map.update(process, turn)
        }
    }
}
