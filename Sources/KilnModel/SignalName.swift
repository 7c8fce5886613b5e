import KilnBPF

/// The name of a signal: `SIGSEGV`, `SIGRTMIN+1`; `signal N` if it has none.
public func signalName(_ number: Int32) -> String {
    if let name = kiln_signal_name(UInt32(bitPattern: number)) { return String(cString: name) }
    // The C library keeps the kernel's first two real-time signals, 32 and 33, for itself.
    return (34...64).contains(number) ? "SIGRTMIN" + (number == 34 ? "" : "+\(number - 34)") : "signal \(number)"
}
