import ArgumentParser
import Flamegraph

extension Palette: ExpressibleByArgument {}
extension NameCut: ExpressibleByArgument {}

/// The options of every picture, under the names that flamegraph users know.
struct PictureOptions: ParsableArguments {
    @Option(help: ArgumentHelp("The headline.", valueName: "text"))
    var title: String?

    @Option(help: ArgumentHelp("A line below the headline.", valueName: "text"))
    var subtitle = ""

    @Option(help: ArgumentHelp("Width in pixels, 320 to 16384. Without it, the picture takes the width there is.", valueName: "pixels"))
    var width: Int?

    @Option(help: ArgumentHelp("Height of a frame in pixels, 12 to 64.", valueName: "pixels"))
    var height = 18

    @Option(help: ArgumentHelp("Leave out narrower frames: pixels at a width of 1200 or that of --width, or a share like 0.5%.", valueName: "width"))
    var minwidth = "0.01%"

    @Option(help: ArgumentHelp("Font of the names in the frames.", valueName: "font"))
    var fonttype: String?

    @Option(help: ArgumentHelp("Its size in pixels, 6 to 48.", valueName: "pixels"))
    var fontsize = 12.0

    @Option(help: ArgumentHelp("Mean width of its letters as a share of the size, 0.3 to 1.5.", valueName: "share"))
    var fontwidth = 0.6

    @Option(help: ArgumentHelp("What the weights count. Without it, what the stacks' own comments say.", valueName: "text"))
    var countname: String?

    @Option(help: ArgumentHelp("What stands before a frame's name where it is described, like Function:", valueName: "text"))
    var nametype = ""

    @Option(help: ArgumentHelp("Colours of the frames. `kind` tells kernel, user, library, inlined and JIT code apart.", valueName: "palette"))
    var colors = Palette.kind

    @Option(help: ArgumentHelp("Background: yellow, blue, green, grey or #rrggbb. Without it, light by day and dark by night.", valueName: "colour"))
    var bgcolors: String?

    @Flag(help: "Choose shades by names alone: a function has its shade in every picture, and neighbours may have the same.")
    var hash = false

    @Flag(help: "Other shades in each picture.")
    var random = false

    @Option(
        help: ArgumentHelp(
            "Where names that don't fit are cut: left, right, or auto: what stands before a function's own name, then what follows it.", valueName: "side"))
    var cut = NameCut.auto

    @Option(
        help: ArgumentHelp(
            "Titles and links of frames: lines of a name, a tab, and title=, href= (http, https), target= with tabs between them.", valueName: "file"),
        completion: .file())
    var nameattr: String?

    @Flag(help: "Keep each function's colour in palette.map in the current directory, and take it from there.")
    var cp = false

    @Flag(help: "The root at the top, leaves at the foot.")
    var inverted = false

    @Flag(help: "Two profiles: swap red and blue.")
    var negate = false

    @Option(
        help: ArgumentHelp(
            "Two profiles: weight of one sample, which decides what is noise. Without it, what the stacks' own comments say.", valueName: "weight"))
    var sampleWeight: Double?

    @Option(help: ArgumentHelp("A line at the foot.", valueName: "text"))
    var notes: [String] = []

    func validate() throws {
        try check("--width", Double(width ?? 1200), 320...16384)
        try check("--height", Double(height), 12...64)
        try check("--fontsize", fontsize, 6...48)
        try check("--fontwidth", fontwidth, 0.3...1.5)
        _ = try minimumPercent()
        if let sampleWeight, !sampleWeight.isFinite || sampleWeight <= 0 {
            throw ValidationError("--sample-weight must be more than 0.")
        }
        if random, hash { throw ValidationError("--random and --hash are opposites: give one of them.") }
        if let bgcolors, Background(bgcolors) == nil {
            throw ValidationError("--bgcolors \(bgcolors) is no colour: give yellow, blue, green, grey or #rrggbb.")
        }
    }

    private func check(_ name: String, _ value: Double, _ range: ClosedRange<Double>) throws {
        guard range.contains(value) else {
            throw ValidationError("\(name) must be between \(text(range.lowerBound)) and \(text(range.upperBound)).")
        }
    }

    private func text(_ value: Double) -> String { value == value.rounded() ? String(Int(value)) : String(value) }

    private func minimumPercent() throws -> Double {
        let isShare = minwidth.hasSuffix("%")
        guard let value = Double(isShare ? String(minwidth.dropLast()) : minwidth), value >= 0, value.isFinite else {
            throw ValidationError("--minwidth \(minwidth) is no width: give pixels, like 0.1, or a share, like 0.5%.")
        }
        return isShare ? value : value / Double((width ?? 1200) - 40) * 100
    }

    /// For the library. - Parameter defaultTitle: the headline when none was given.
    func flamegraphOptions(_ stacks: borrowing FoldedStacks, defaultTitle: String) throws -> FlamegraphOptions {
        var options = FlamegraphOptions(
            title: title ?? defaultTitle, subtitle: subtitle, countName: countname ?? stacks.unit, notes: notes)
        options.width = width ?? 1200
        options.isFluid = width == nil
        options.rowHeight = height
        options.minWidth = try minimumPercent()
        if let fonttype { options.fontFamily = fonttype }
        options.fontSize = fontsize
        options.fontWidth = fontwidth
        options.nameType = nametype
        options.palette = colors
        options.shadesByName = hash
        if random { options.seed = .random(in: 1...UInt64.max) }
        options.nameCut = cut
        if let nameattr { options.attributes = try readAttributes(nameattr) }
        options.background = bgcolors.flatMap(Background.init)
        options.inverted = inverted
        options.difference.isNegated = negate
        options.difference.sampleWeight = sampleWeight ?? (stacks.isDifference ? stacks.sampleWeight : 1)
        return options
    }

    private func readAttributes(_ file: String) throws -> [String: FrameAttributes] {
        var text: [UInt8] = []
        try readPieces(of: file, "names and their attributes") { text += $0 }
        let (byName, ignored) = FrameAttributes.parse(text)
        for (line, what) in ignored.prefix(8) { say("kiln: \(file): line \(line): \(what)") }
        if ignored.count > 8 { say("kiln: \(file): \(ignored.count) attributes in all are not used") }
        return byName
    }

    /// Draws, and keeps colours where that is asked for.
    func draw(_ stacks: borrowing FoldedStacks, _ given: FlamegraphOptions, to output: String?) throws {
        var options = given
        if cp {
            let map = try PaletteMap()
            options.colorsByName = map.colors
            let colors = stacks.colors(options)
            options.colorsByName = Dictionary(colors.map { ($0.name, $0.color) }, uniquingKeysWith: { first, _ in first })
            try map.write(colors)
        }
        let picture = renderSVG(stacks, options)
        try writePieces(to: output) { try $0(picture) }
    }
}

/// The headline of a picture of only these commands, if there are any, which are written as the stacks write them.
func titled(_ title: String, _ commands: [String], _ stacks: borrowing FoldedStacks) -> String {
    let names = stacks.commandNames.filter { name in commands.contains { FoldedReading.isCommand($0, name) } }
    return names.isEmpty ? title : "\(title) · \(names.joined(separator: ", "))"
}

/// What could not be read, line by line, then what that means for the picture.
func tellRejected(_ stacks: borrowing FoldedStacks, of files: [String]) {
    for line in stacks.rejectedLines { say("kiln: \(files[line.input]): \(line)") }
    if stacks.rejectedCount > stacks.rejectedLines.count {
        say("kiln: \(files.joined(separator: ", ")): \(stacks.rejectedCount) lines in all could not be read")
    }
}
