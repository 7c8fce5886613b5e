import Glibc
import KilnBPF
import KilnModel

/// Chooses which part of the requests is watched (`requests/watch.bpf.h`). The probe has to be made with `watchVaries`.
extension CommandProbe {
    /// Begins a slice, which watches other connections, chosen at random.
    ///
    /// - Parameters:
    ///   - share: The share of the connections: more than 0, up to 1.
    ///   - isSampled: Some receives are not watched, because of the share or because the programs are attached for a part of the time.
    public func beginSlice(share: Double, isSampled: Bool) {
        control.pointee.watch.sampled = isSampled ? 1 : 0
        control.pointee.watch.share = UInt64(share * Double(KILN_WATCH_ALL))
        control.pointee.watch.salt = UInt64.random(in: 0...UInt64.max)
        control.pointee.watch.slice &+= 1
    }

    /// Stops watching receives. Replies to requests in flight are still matched.
    public func close() { control.pointee.watch.closed = 1 }

    /// Watches receives from now on.
    public func open() { control.pointee.watch.closed = 0 }

    /// Detaches the programs. The probes of OpenSSL stay attached until a target calls OpenSSL for the first time, because until then they cost nothing.
    public mutating func pause() { object.detach(backTo: control.pointee.watch.has_tls != 0 ? 0 : attachmentsOfTLS) }

    /// Attaches the programs again, which begins a window. Receives are not watched before `open`.
    public mutating func unpause() throws(KernelError) {
        control.pointee.watch.window &+= 1
        if object.attachmentCount == 0 { _ = attachTLS { _, _ in } }
        for program in hook.programs(for: side) { try object.attach(program) }
    }
}

extension Turns {
    /// Stacks get a label only if their thread has received or sent since `time`; nil: no stack gets one until the next call.
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
