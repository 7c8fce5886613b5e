import KilnBPF

/// Eight neighbouring slots of the latency histogram: half a power of two. The kernel keeps a sum for each stack and band of its call's `service`; a sum for
/// each slot would need eight times the room (`kiln_work.h`).
public struct LatencyBand: Hashable, Sendable, Comparable {
    /// From 0: slots 0 to 7.
    public let number: Int

    public static let slotsPerBand = Int(KILN_SLOTS_PER_BAND)
    public static let count = Int(KILN_HISTOGRAM_SLOTS) / slotsPerBand + 1

    /// As the kernel side writes it, counted from 1. Nil: the latency is not known.
    public init?(kernel band: UInt8) {
        guard band != UInt8(KILN_BAND_UNKNOWN) else { return nil }
        number = Int(band) - 1
    }

    /// Nil: there is no such band.
    public init?(number: Int) {
        guard (0..<Self.count).contains(number) else { return nil }
        self.number = number
    }

    /// The band of a latency.
    public init(of latency: Nanoseconds) { number = Int(kiln_band_of(latency.count)) - 1 }

    /// The shortest latency in it.
    public var lower: Nanoseconds { Nanoseconds(kiln_histogram_slot_lower(UInt32(number * Self.slotsPerBand))) }
    /// The first latency beyond it; nil for the last band, which has all that are longer than the histogram's reach.
    public var upper: Nanoseconds? {
        number + 1 < Self.count ? Nanoseconds(kiln_histogram_slot_lower(UInt32((number + 1) * Self.slotsPerBand))) : nil
    }

    public static func < (one: LatencyBand, other: LatencyBand) -> Bool { one.number < other.number }
}
