/// A program that generates machine code while it runs, and writes the names of it only on request.
public enum CodeGenerator: String, CaseIterable, Sendable {
    case node, java, dotnet, erlang, php, ruby, luajit

    /// By the files that a process has mapped as code; nil: none that is known.
    init?(files: some Sequence<String>) {
        for name in files {
            guard let known = Self.allCases.first(where: { $0.isNamed(name) }) else { continue }
            self = known
            return
        }
        return nil
    }

    private func isNamed(_ file: String) -> Bool {
        switch self {
        case .node: file == "node" || file == "nodejs"
        case .java: file == "libjvm.so"
        case .dotnet: file == "libcoreclr.so"
        case .erlang: file.hasPrefix("beam.")
        case .php: file == "opcache.so" || file.hasPrefix("php") || file.hasPrefix("libphp")
        case .ruby: file.hasPrefix("ruby") || file.hasPrefix("libruby")
        case .luajit: file.hasPrefix("luajit") || file.hasPrefix("libluajit")
        }
    }

    /// What makes the process `pid` write /tmp/perf-PID.map.
    public func request(pid: Int32) -> String {
        switch self {
        case .node: "start it with --perf-basic-prof"
        case .java:
            "run `jcmd \(pid) Compiler.perfmap` before the session ends (JDK 17 and later), or start it with "
                + "-XX:+UnlockDiagnosticVMOptions -XX:+DumpPerfMapAtExit, if it ends in the session"
        case .dotnet: "start it with DOTNET_PerfMapEnabled=1 in its environment"
        case .erlang: "start it with +JPperf true"
        case .php: "start it with -d opcache.jit_debug=16"
        case .ruby: "start it with --yjit-perf"
        case .luajit: "build LuaJIT with -DLUAJIT_USE_PERFTOOLS"
        }
    }
}

extension Symbolizer {
    /// The compiler of the process's generated code; nil: none that is known.
    public var codeGenerator: CodeGenerator? { CodeGenerator(files: layers.code.pieces.lazy.compactMap(\.module)) }
}
