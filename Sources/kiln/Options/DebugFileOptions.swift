import ArgumentParser
import Glibc

/// Where debug files come from that this host lacks. For all subcommands that name stacks.
struct DebugFileOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Fetch missing debug files from these servers when the session has ended; '' asks none. (default: $DEBUGINFOD_URLS)",
            discussion: "Servers learn which programs run here. What was fetched stays in the cache of libdebuginfod.", valueName: "urls"))
    var debuginfod: String?

    /// Empty: none is to be asked.
    var servers: String {
        let given = debuginfod ?? getenv("DEBUGINFOD_URLS").map { String(cString: $0) } ?? ""
        return given.split(whereSeparator: \.isWhitespace).joined(separator: " ")
    }
}
