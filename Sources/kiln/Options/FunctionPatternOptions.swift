import ArgumentParser

/// Which functions are meant: of which files, with which names.
struct FunctionPatternOptions: ParsableArguments {
    @Argument(
        help: ArgumentHelp(
            "A file first, unless --pid, --comm or a command says it; then names of functions.",
            discussion: """
                A name may hold *, ? and [a-z], and is held against the linker's name and the one for people, with and without parameters. \
                FILE+0xSTART is a function without a symbol, kernel:NAME a function of the kernel, usdt:PROVIDER:NAME a static probe. Without a name: all \
                functions of the file.
                """, valueName: "path-or-glob"
        ), completion: .file())
    var arguments: [String] = []

    @Flag(help: "Names are extended regular expressions, which match any part; so is --exclude.")
    var regex = false

    @Option(help: ArgumentHelp("Leave these functions out; repeat for several.", valueName: "glob"))
    var exclude: [String] = []

    @Option(
        help: ArgumentHelp(
            "Functions of this library that the process has loaded, instead of its program: libc, libssl.so.3, or a glob; repeat for several.",
            valueName: "name"))
    var lib: [String] = []

    func validate() throws {
        for text in arguments + exclude + lib where text.isEmpty { throw ValidationError("An empty name means no function: leave it out.") }
    }
}
