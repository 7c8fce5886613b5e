/// The source expressions that let a picture's script and style run under a strict content security policy.
///
/// Both are the same for every picture, because nothing from a profile becomes part of them.
public enum ContentSecurityPolicy {
    /// For `script-src`, quotes included: `'sha256-…'`.
    public static let scriptSource = source(viewerScript)
    /// For `style-src`, quotes included.
    public static let styleSource = source(viewerStyle)
    /// Both, as they stand in a `Content-Security-Policy` header or a page's `<meta>`.
    public static let directives = "script-src \(scriptSource); style-src \(styleSource)"

    /// For a script or style of a page that has more in it.
    public static func source(_ bytes: [UInt8]) -> String { "'sha256-\(base64(sha256(bytes)))'" }
}

/// SHA-256 as FIPS 180-4 defines it.
func sha256(_ message: [UInt8]) -> [UInt8] {
    var padded = message + [0x80]
    while padded.count % 64 != 56 { padded.append(0) }
    for shift in stride(from: 56, through: 0, by: -8) {
        padded.append(UInt8(truncatingIfNeeded: (UInt64(message.count) * 8) >> UInt64(shift)))
    }
    let primes = firstPrimes(64)
    let constants = primes.map { fractionBits(rootOf: $0, power: 3) }
    var state = primes.prefix(8).map { fractionBits(rootOf: $0, power: 2) }
    var schedule = [UInt32](repeating: 0, count: 64)
    for block in stride(from: 0, to: padded.count, by: 64) {
        for index in 0..<16 {
            schedule[index] = padded[(block + 4 * index)..<(block + 4 * index + 4)].reduce(0) { $0 << 8 | UInt32($1) }
        }
        for index in 16..<64 {
            let (early, late) = (schedule[index - 15], schedule[index - 2])
            schedule[index] =
                schedule[index - 16] &+ (rotated(early, 7) ^ rotated(early, 18) ^ early >> 3)
                &+ schedule[index - 7] &+ (rotated(late, 17) ^ rotated(late, 19) ^ late >> 10)
        }
        var s = state
        for index in 0..<64 {
            let choice = s[4] & s[5] ^ ~s[4] & s[6]
            let first =
                s[7] &+ (rotated(s[4], 6) ^ rotated(s[4], 11) ^ rotated(s[4], 25)) &+ choice
                &+ constants[index] &+ schedule[index]
            let majority = s[0] & s[1] ^ s[0] & s[2] ^ s[1] & s[2]
            let second = (rotated(s[0], 2) ^ rotated(s[0], 13) ^ rotated(s[0], 22)) &+ majority
            s = [first &+ second, s[0], s[1], s[2], s[3] &+ first, s[4], s[5], s[6]]
        }
        for index in 0..<8 { state[index] &+= s[index] }
    }
    return state.flatMap { word in [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: word >> UInt32($0)) } }
}

func base64(_ bytes: [UInt8]) -> String {
    let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
    var text = ""
    for start in stride(from: 0, to: bytes.count, by: 3) {
        let group = Array(bytes[start..<min(start + 3, bytes.count)])
        let bits = (group + [0, 0]).prefix(3).reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        for digit in 0..<4 {
            text.append(digit <= group.count ? alphabet[Int(bits >> UInt32(18 - 6 * digit) & 63)] : "=")
        }
    }
    return text
}

private func rotated(_ word: UInt32, _ count: UInt32) -> UInt32 { word >> count | word << (32 - count) }

private func firstPrimes(_ count: Int) -> [UInt64] {
    var primes: [UInt64] = []
    var candidate: UInt64 = 2
    while primes.count < count {
        if primes.allSatisfy({ candidate % $0 != 0 }) { primes.append(candidate) }
        candidate += 1
    }
    return primes
}

/// The first 32 bits of the fraction of a prime's square or cube root, which is where the standard takes its constants from.
private func fractionBits(rootOf prime: UInt64, power: Int) -> UInt32 {
    // The root times 2^32, found bit by bit; its cube needs up to 105 bits.
    var root: UInt128 = 0
    let target = UInt128(prime) << UInt128(32 * power)
    for bit in stride(from: 36, through: 0, by: -1) {
        let trial = root | 1 << UInt128(bit)
        let product = power == 2 ? trial * trial : trial * trial * trial
        if product <= target { root = trial }
    }
    return UInt32(truncatingIfNeeded: root)
}
