import Testing

/// Tests with the real kernel and a real redis-server. One after the other: each loads both cores.
@Suite(.serialized, .retriesOfTiming, .enabled(if: Capability.canProfile, "kiln can't attach here; the reason is printed above"))
enum KernelTests {}
