extension CollapseFormat {
    /// The format of a text that is no folded text yet, given its beginning; nil for folded and for unknown text.
    ///
    /// Callgrind's lines of positions and costs look like stacks and numbers, so its header decides.
    public static func uncollapsed(_ beginning: [UInt8]) -> CollapseFormat? {
        guard let format = guess(beginning), format.name != folded.name else { return nil }
        let lines = beginning.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: true)
        return format.name == callgrind.name || !folded.recognizes(lines) ? format : nil
    }
}
