import KilnBPF

/// The name of an error: `ENOENT`; `errno N` if this build doesn't know it.
public func errorName(_ code: Int32) -> String {
    kiln_error_name(UInt32(bitPattern: code)).map { String(cString: $0) } ?? "errno \(code)"
}

/// The name of a signal: `SIGSEGV`, `SIGRTMIN+1`; `signal N` if this build doesn't know it.
public func signalName(_ number: Int32) -> String {
    if let name = kiln_signal_name(UInt32(bitPattern: number)) { return String(cString: name) }
    // The C library keeps the kernel's first two real-time signals, 32 and 33, for itself.
    return (34...64).contains(number) ? "SIGRTMIN" + (number == 34 ? "" : "+\(number - 34)") : "signal \(number)"
}
