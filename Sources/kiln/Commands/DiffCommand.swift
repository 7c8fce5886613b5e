import ArgumentParser
import Flamegraph

/// `kiln diff`: what changed from one profile to another.
struct DiffCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "diff", abstract: "Compares two profiles: folded stacks with two numbers, or a picture.",
        discussion: """
            With an output that ends in .svg, or with --svg, draws a picture: red and ▲ for more, blue and ▼ for less, \
            ✚ for frames that are new, ✕ for frames that are gone, grey for what sampling noise explains.
            """
    )

    @Argument(help: "Folded stacks before, a file, a session's directory or -.", completion: .file())
    var before: String

    @Argument(help: "Folded stacks after, a file, a session's directory or -.", completion: .file())
    var after: String

    @Option(name: .shortAndLong, help: ArgumentHelp("Write here instead of standard output.", valueName: "file"), completion: .file())
    var output: String?

    @Flag(name: [.customShort("n"), .long], help: "Compare shares: scale the first profile to the weight of the second.")
    var normalize = false

    @Flag(name: [.customShort("s"), .customLong("strip")], help: "Write 0x... for hexadecimal numbers in names, so that addresses don't differ.")
    var stripsNumbers = false

    @Option(help: ArgumentHelp("Compare only the stacks of this command of two sessions, as kiln flamegraph does. May be repeated.", valueName: "name"))
    var command: [String] = []

    @Flag(help: "Draw a picture, whatever the output is called.")
    var svg = false

    @OptionGroup var picture: PictureOptions

    func validate() throws {
        if before == "-", after == "-" { throw ValidationError("Both profiles can't be standard input: give one as a file.") }
    }

    func run() throws {
        try reportingErrors("comparing") {
            let before = try FoldedSource(before).file(byCommand: !command.isEmpty), after = try FoldedSource(after).file(byCommand: !command.isEmpty)
            try refuseOutput(output, onto: [before, after])
            var reading = FoldedReading()
            reading.stripsNumbers = stripsNumbers
            if !command.isEmpty { reading.commands = .areChosen(command) }
            var stacks = FoldedStacks(reading)
            try read(before, of: [before, after], into: &stacks)
            let measureBefore = stacks.measure
            stacks.beginSecondProfile()
            try read(after, of: [before, after], into: &stacks)
            let measureAfter = stacks.measure
            guard stacks.pairProfiles(normalized: normalize) else {
                throw Failure("\(before), \(after): weights together need more than 64 bits. Use a larger unit.")
            }
            let oldShare = Double(stacks.totalBefore) / Double(stacks.total)
            let ratio = (1 - oldShare) / oldShare
            if !measureBefore.countsTheSame(as: measureAfter) {
                let advice = normalize ? "only shares can be compared" : "their weights can't be compared, -n compares shares"
                say("kiln: \(countedText(before, measureBefore)), \(countedText(after, measureAfter)); \(advice)")
            } else if !normalize, !(0.8...1.25).contains(ratio) {
                say(
                    "kiln: the profiles differ in weight, \(after) has \((ratio * 100).rounded() / 100) times that of \(before): -n compares shares")
            }
            guard svg || output?.hasSuffix(".svg") == true else {
                return try writePieces(to: output) { write in
                    try write(Array(stacks.measure.comments.utf8))
                    try stacks.writeFoldedText(write)
                }
            }
            var options = try picture.flamegraphOptions(stacks, defaultTitle: titled("Difference", command, stacks))
            if options.subtitle.isEmpty { options.subtitle = "\(before) → \(after)" + (normalize ? ", by share" : "") }
            if options.difference.sampleWeight == nil {
                say("kiln: nothing says what one sample weighs, so no difference is judged: --sample-weight names it")
            }
            try picture.draw(stacks, options, to: output)
        }
    }

    private func read(_ file: String, of files: [String], into stacks: inout FoldedStacks) throws {
        try readStacks(of: file, into: &stacks)
        tellRejected(stacks, of: files)
        try refuseUnknown(command, stacks, of: file)
        if let empty = stacks.emptyInput { throw Failure("\(file): \(empty). Give folded stacks: `main;read 12`.") }
    }
}
