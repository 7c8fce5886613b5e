import ArgumentParser
import Flamegraph

/// `kiln flamegraph`: folded stacks to a picture.
struct FlamegraphCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "flamegraph", abstract: "Draws folded stacks as an interactive SVG.",
        discussion: """
            Lines are a stack, a blank and a number. Where every line of a file has two numbers, they are two profiles, \
            and the picture shows what changed; --diff and --no-diff decide for all files. Of a session's directory the stacks on the CPU are drawn. \
            Where the stacks name commands (files that end in .by-command.folded), the page offers a choice of them.
            """
    )

    @Argument(help: "Folded stacks, files, sessions' directories or - for standard input. Several are merged.", completion: .file())
    var files = ["-"]

    @Option(name: .shortAndLong, help: ArgumentHelp("Write here instead of standard output.", valueName: "file"), completion: .file())
    var output: String?

    @OptionGroup var picture: PictureOptions

    @Flag(help: "Merge stacks from their leaves: who calls a function.")
    var reverse = false

    @Flag(help: "Keep the order of lines as time, from left to right; merge neighbours only.")
    var flamechart = false

    @Option(help: ArgumentHelp("Leave out the frames below this one. May be repeated.", valueName: "frame"))
    var base: [String] = []

    @Option(
        help: ArgumentHelp(
            "Draw only the stacks of this command of a session: its directory, or a .by-command.folded file. May be repeated.", valueName: "name"))
    var command: [String] = []

    @Option(help: ArgumentHelp("What the stacks' bytes are: utf-8 or iso-8859-1. The picture is UTF-8.", valueName: "encoding"))
    var encoding = "utf-8"

    @Flag(inversion: .prefixedNo, help: "Lines have two numbers, or one.")
    var diff: Bool?

    @Option(help: ArgumentHelp("Multiply every weight.", valueName: "number"))
    var factor: String?

    @Option(help: ArgumentHelp("What 100 % is, if it is more than all weights together.", valueName: "weight"))
    var total: String?

    @Flag(help: ArgumentHelp("Only print the content security policy under which all pictures of this version work, and end."))
    var csp = false

    func validate() throws {
        for (name, text) in [("--factor", factor), ("--total", total)] {
            if let text, ExactNumber(text).map({ $0.value == 0 }) ?? true {
                throw ValidationError("\(name) \(text) is no number above 0: give digits, with a point if need be.")
            }
        }
        if FoldedReading.Encoding(encoding) == nil {
            throw ValidationError("--encoding \(encoding) is not known: give utf-8 or iso-8859-1, or make the stacks UTF-8 with iconv.")
        }
        if diff == true, !command.isEmpty { throw ValidationError("--command reads lines of one number: leave out --diff, or compare with kiln diff.") }
        if reverse, flamechart { throw ValidationError("--reverse merges what --flamechart keeps apart: give one of them.") }
    }

    func run() throws {
        try reportingErrors("drawing") {
            if csp { return try Output.standardOutput.write([Line(ContentSecurityPolicy.directives)]) }
            let sources = files.map(FoldedSource.init)
            let byCommand = !command.isEmpty || !flamechart && sources.allSatisfy(\.hasCommands)
            let files = try sources.map { try $0.file(byCommand: byCommand) }
            try refuseOutput(output, onto: files)
            var reading = FoldedReading()
            reading.columns = diff.map { $0 ? .two : .one } ?? .decidedByInput
            reading.isReversed = reverse
            reading.keepsOrder = flamechart
            reading.encoding = FoldedReading.Encoding(encoding) ?? .utf8
            reading.bases = Set(base.map { Array($0.utf8) })
            if byCommand { reading.commands = command.isEmpty ? .areKeptApart : .areChosen(command) }
            var stacks = FoldedStacks(reading)
            var first: (file: String, measure: Measure)?
            for file in files {
                try readStacks(of: file, into: &stacks)
                guard let measure = stacks.lastInputMeasure else { continue }
                if let first { try check(first.file, first.measure, file, measure) } else { first = (file, measure) }
            }
            let name = files.joined(separator: ", ")
            tellRejected(stacks, of: files)
            try refuseUnknown(command, stacks, of: name)
            if stacks.mixesColumns {
                throw Failure("\(name): some files have two numbers on every line, some one. Say which is meant: --diff or --no-diff.")
            }
            if stacks.missesBases, !stacks.isEmpty {
                throw Failure("\(name): no stack has a frame \(base.joined(separator: " or ")). Give --base a frame's whole name and its mark, like read_[k].")
            }
            if let factor, let number = ExactNumber(factor), !stacks.multiply(by: number) {
                throw Failure("\(name): weights times \(factor) need more than 64 bits. Give a smaller --factor.")
            }
            if let total, let number = ExactNumber(total), !stacks.widen(to: number) {
                say("kiln: \(name): --total \(total) is less than all weights together: not used")
            }
            let options = try picture.flamegraphOptions(stacks, defaultTitle: titled(flamechart ? "Flame chart" : "Flame graph", command, stacks))
            if let empty = stacks.emptyInput {
                // An honest picture where one was asked for; nothing where a pipe would take it for a result.
                if output != nil { try picture.draw(stacks, options, to: output) }
                throw Failure("\(name): \(empty). Give folded stacks: `main;read 12`.")
            }
            try picture.draw(stacks, options, to: output)
        }
    }

    /// Refuses inputs with different units. Prints a line if the unit of an input is unknown.
    private func check(_ first: String, _ measure: Measure, _ other: String, _ otherMeasure: Measure) throws {
        if measure.countsTheSame(as: otherMeasure) { return }
        let said = "\(countedText(first, measure)), \(countedText(other, otherMeasure))"
        guard measure.counted == nil || otherMeasure.counted == nil else { throw Failure("\(said): they can't be added up. Draw each by itself.") }
        say("kiln: \(said): the numbers are added up as they are")
    }
}
