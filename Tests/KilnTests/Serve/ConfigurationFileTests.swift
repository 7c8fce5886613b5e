import ArgumentParser
import Glibc
import TestSupport
import Testing

@testable import kiln

/// A subcommand with options of each kind.
private struct Watch: ParsableCommand {
    @Option var config: String?
    @Option var listen = "127.0.0.1:9494"
    @OptionGroup var target: TargetOptions
    @Option var comm: [String] = []
    @Option var parts: [String] = []
    @Option(name: [.customShort("i"), .customLong("interval")]) var interval = 1.0
    @Option(name: [.customShort("F"), .customLong("frequency")]) var frequency: FrequencyArgument?
    @Option var top = 0
    @Flag(name: .customLong("no-syscalls")) var noSyscalls = false
    @Flag(name: .customLong("syscall-latency")) var syscallLatency = false
    @Flag var json = false
    @Option(help: .hidden) var parent: Int32?

    func validate() throws {
        try require("--interval", interval, in: 0.1...3600)
        if noSyscalls && syscallLatency { throw ValidationError("--no-syscalls and --syscall-latency exclude each other: give one.") }
        if comm.isEmpty && target.port.isEmpty { throw ValidationError("nothing to watch: give a port.") }
    }
}

/// A file with this text, and what a command line with it comes to.
private func configured(_ text: String, _ commandLine: [String] = []) throws -> ConfiguredArguments { try configured(Array(text.utf8), commandLine) }

private func configured(_ bytes: [UInt8], _ commandLine: [String] = []) throws -> ConfiguredArguments {
    let directory = try TemporaryDirectory(), path = directory.url.path + "/kiln.toml"
    try replaceFile(path, bytes)
    do {
        return try ConfiguredArguments(["--config", path] + commandLine, of: Watch.self)
    } catch let failure as Failure {
        throw Failure(failure.description.replacing(directory.url.path + "/", with: ""), status: failure.status)
    }
}

/// The line that refuses a file.
private func refusal(_ text: String, _ commandLine: [String] = []) -> String? { refusal(Array(text.utf8), commandLine) }

private func refusal(_ bytes: [UInt8], _ commandLine: [String] = []) -> String? {
    do {
        _ = try configured(bytes, commandLine)
        return nil
    } catch {
        return "\(error)"
    }
}

/// A configuration file becomes arguments.
struct ConfigurationFileTests {
    @Test func everyKindOfValueBecomesAnArgument() throws {
        let text = """
            # What is watched
            port = [6379, 0x1900]
            comm = "a name"          # one value of an option that may be repeated
            listen = '[::1]:9494'
            interval = 2.5
            top = -1
            frequency = "max"
            no-syscalls = true
            json = false
            parts = ["", "-"]
            """
        let configured = try configured(text)
        #expect(
            configured.arguments.dropLast(2) == [
                "--port=6379", "--port=6400", "--comm=a name", "--listen=[::1]:9494", "--interval=2.5", "--top=-1", "--frequency=max", "--no-syscalls",
                "--parts", "", "--parts=-",
            ])
        let watch = try #require(try Watch.parse(configured.arguments))
        #expect(watch.target.port == [6379, 6400] && watch.comm == ["a name"] && watch.listen == "[::1]:9494" && watch.interval == 2.5)
        #expect(watch.top == -1 && watch.frequency?.hertz ?? 0 > 0 && watch.noSyscalls && !watch.json && watch.parts == ["", "-"])
    }

    @Test(arguments: ["", "\n", "# nothing\r\n", "\u{FEFF}port = 1\r\n", "comm = []\n", "json = false", "comm = ''\nport = 1\n"])
    func whatSaysLittleIsValid(text: String) throws {
        let configured = try configured(text, ["--port", "7000"])
        #expect(try Watch.parse(configured.arguments).target.port == [7000])
    }

    @Test func theCommandLineWins() throws {
        let text = "port = [6379, 6380]\ninterval = 5\nlisten = '127.0.0.1:1'\nfrequency = 7\ncomm = ['a']\n"
        let given = ["-i", "3", "--port=7000", "-F", "9", "--", "--comm", "b"]
        let configured = try configured(text, given)
        #expect(configured.arguments.prefix(2) == ["--listen=127.0.0.1:1", "--comm=a"] && Array(configured.arguments.suffix(given.count)) == given)
        #expect(configured.settings.map(\.name) == ["listen", "comm"])
    }

    /// A value that looks like an option is none.
    @Test func valuesAreNoOptions() throws {
        let options = try OptionCatalog(of: RedisCommand.self)
        let given = options.given(in: ["--output=--pid", "-p", "12", "--json", "-d", "-1", "--no-such", "x", "-i=2", "--", "--port", "1"])
        #expect(given.map(\.option.name) == ["output", "pid", "json", "duration", "interval"])
        #expect(given.map(\.value) == ["--pid", "12", nil, "-1", "2"])
        #expect(options["parent"]?.isShown == false && options["port"]?.repeats == true && options["command"]?.isFlag == false)
    }

    @Test func withoutAFileNothingChanges() throws {
        for arguments in [[], ["--port", "1"], ["--config"], ["--", "--config", "x"], ["--config", "/nonexistent", "--help"]] {
            #expect(try ConfiguredArguments(arguments, of: Watch.self).arguments == arguments)
        }
    }

    private static let faults: [(text: String, line: String)] = [
        // Syntax
        ("port = [6379, 6380\njson = true\n", "kiln.toml:2:1: Error while parsing array: expected comma or closing ']', saw 'j'"),
        ("port\n", "kiln.toml:1:5: Error while parsing key-value pair: expected '=', saw '\\n'"),
        ("port = 1\nport = 2\n", "kiln.toml:2:8: Error while parsing key-value pair: cannot redefine existing integer 'port'"),
        ("port = 6379\ntop = yes\n", "kiln.toml:2:7: Error while parsing value: could not determine value type"),
        // Keys
        ("port = 1\n\n  porrt = 2\n", "kiln.toml:3:3: no option is named 'porrt'. Similar: port."),
        ("no_syscalls = true\n", "kiln.toml:1:1: no option is named 'no_syscalls'. Similar: no-syscalls."),
        ("parent = 1\n", "kiln.toml:1:1: no option is named 'parent'."),
        ("p = 1\n", "kiln.toml:1:1: no option is named 'p'."),
        ("'\\u001B[31m' = 1\n", "kiln.toml:1:1: no option is named '\\u001B[31m'."),
        ("\"\\u001B[31m\" = 1\n", "kiln.toml:1:1: no option is named '\\x1b[31m'."),
        ("[serve]\nport = 1\n", "kiln.toml:1:2: 'serve' is a table: write options at the top of the file, as NAME = VALUE."),
        ("config = 'other.toml'\n", "kiln.toml:1:1: 'config' can't stand in a configuration file: give it on the command line."),
        // Types
        ("port = 1\nno-syscalls = 'yes'\n", "kiln.toml:2:15: no-syscalls takes no value: write true or false."),
        ("no-syscalls = [true]\n", "kiln.toml:1:16: no-syscalls takes no value: write true or false."),
        ("listen = ['a', 'b']\n", "kiln.toml:1:1: listen takes one value, not an array."),
        ("listen = true\n", "kiln.toml:1:10: listen takes a string or a number, not true."),
        ("interval = nan\n", "kiln.toml:1:12: interval takes a string or a number, not nan."),
        ("port = [1,\n  [2]]\n", "kiln.toml:2:3: port takes a string or a number, or an array of them, not a table or an array of arrays."),
        ("port.x = 1\n", "kiln.toml:1:1: port takes a string or a number, or an array of them, not a table or an array of arrays."),
        ("comm = 1979-05-27\n", "kiln.toml:1:8: comm takes a string or a number, or an array of them, not a date or a time; quote it if it is meant as text."),
        ("comm = \"a\\u0000b\"\n", "kiln.toml:1:8: comm takes no text with a zero byte."),
        // What the parser refuses
        ("port = [6379,\n        70000]\n", "kiln.toml:2:9: The value '70000' is invalid for '--port <port>'"),
        ("port = [1, 0, 2]\n", "kiln.toml:1:12: --port 0 is no port: give 1 to 65535."),
        ("port = [0, 0]\n", "kiln.toml:1:1: --port 0 is no port: give 1 to 65535."),
        ("port = 1\ninterval = 0\n", "kiln.toml:2:12: --interval 0 makes no sense: give 0.1 to 3600 seconds."),
        ("interval = \"1\\u001B\"\n", "kiln.toml:1:12: The value '1\\x1b' is invalid for '--interval <interval>'"),
        ("port = 1\nsyscall-latency = true\nno-syscalls = true\n", "kiln.toml:2:1: --no-syscalls and --syscall-latency exclude each other: give one."),
    ]

    @Test(arguments: faults) func whatIsWrongIsToldWithItsPlace(text: String, line: String) {
        #expect(refusal(text) == line)
    }

    /// The file's option can't be together with one of the command line.
    @Test func theFileIsNamedForWhatTheCommandLineAsksFor() {
        let line = "kiln.toml:2:1: --no-syscalls and --syscall-latency exclude each other: give one."
        #expect(refusal("port = 1\nno-syscalls = true\n", ["--syscall-latency"]) == line)
    }

    /// Errors that are not the file's are left to the parser.
    @Test func theCommandLinesOwnErrorsAreNotTheFiles() throws {
        for arguments in [["--interval", "0"], ["--port", "0"], ["--no-such-option"], ["word"]] {
            let configured = try configured("top = 3\n", arguments)
            #expect(throws: (any Error).self) { try Watch.parse(configured.arguments) }
        }
        #expect(throws: (any Error).self) { try Watch.parse(try configured("").arguments) }
    }

    private static let noText: [(bytes: [UInt8], place: String)] = [
        (Array("port = 1\ncomm = 'é".utf8) + [0xFF, 0x27, 0x0A], "2:10"), ([0xFF], "1:1"), (Array("# x".utf8) + [0xC3], "1:4"),
        ([0x23, 0xED, 0xA0, 0x80], "1:2"),
    ]

    @Test(arguments: noText) func bytesThatAreNoTextAreNamed(bytes: [UInt8], place: String) {
        #expect(refusal(bytes) == "kiln.toml:\(place): a byte that is no UTF-8")
    }

    @Test func whatIsNoFileOfTextIsRefusedAtOnce() throws {
        let directory = try TemporaryDirectory(), path = directory.url.path
        #expect(mkfifo(path + "/pipe", 0o600) == 0)
        try replaceFile(path + "/long", [UInt8](repeating: UInt8(ascii: "#"), count: ConfigurationFile.sizeLimit + 1))
        try replaceFile(path + "/fits", [UInt8](repeating: UInt8(ascii: "#"), count: ConfigurationFile.sizeLimit))
        let refused: [(String, String)] = [
            (path, "it is not a regular file"), (path + "/pipe", "it is not a regular file"), ("/dev/zero", "it is not a regular file"),
            (path + "/none", "No such file or directory"), (path + "/long", "it is longer than 65536 bytes"), ("", "No such file or directory"),
        ]
        for (file, reason) in refused {
            let failure = #expect(throws: Failure.self) { try ConfiguredArguments(["--config", file], of: Watch.self) }
            #expect(failure?.description == "cannot read the configuration file \(file): \(reason). Give a file of TOML with --config.")
        }
        #expect(try ConfiguredArguments(["--config", path + "/fits", "--port=1"], of: Watch.self).settings.isEmpty)
    }

    /// Damaged files are refused, or read; nothing else.
    @Test func damagedFilesAreRefusedOrRead() throws {
        let options = try OptionCatalog(of: Watch.self)
        let text = [UInt8](
            """
            port = [6379, 6380]
            comm = "é\\u00e9"
            listen = '''x'''
            interval = 2.5e-1
            top = -0x1
            since = 07:32:00.5
            until = 2020-01-02 03:04:05+01:00
            json = true
            [a.'b']
            c = {d = 1979-05-27T07:32:00Z, e = [1, {f = inf}]}
            """.utf8)
        var random = SeededGenerator(seed: 1), refused = 0
        for _ in 0..<5000 {
            var damaged = text
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                let position = Int.random(in: 0..<damaged.count, using: &random)
                switch Int.random(in: 0..<3, using: &random) {
                case 0: damaged[position] = UInt8.random(in: 0...255, using: &random)
                case 1: damaged.remove(at: position)
                default: damaged.insert(damaged[Int.random(in: 0..<damaged.count, using: &random)], at: position)
                }
            }
            do {
                _ = try ConfigurationFile(damaged, path: "f", options: options)
            } catch let failure as Failure {
                refused += 1
                #expect(failure.description.wholeMatch(of: /f:[1-9][0-9]*:[1-9][0-9]*: .+/) != nil && failure.description.utf8.count < 700)
            }
        }
        #expect(refused > 2500)
    }

    @Test func deepNestingIsRefused() {
        #expect(refusal("port = " + String(repeating: "[", count: 60_000))?.contains("exceeded maximum nested value depth") == true)
        #expect(refusal("port" + String(repeating: ".a", count: 30_000) + " = 1")?.hasPrefix("kiln.toml:1:1: ") == true)
    }

    // MARK: - Read again

    @Test func whatAFileChangesIsTold() throws {
        let old = try configured("port = [1, 2]\nlisten = 'a'\nno-syscalls = false\nfrequency = 9\ntop = 3\n")
        let new = try configured("top = 3.0\nlisten = 'b'\ninterval = 2\nport = [2, 1]\nno-syscalls = false\n")
        let changes = ConfigurationChanges(from: old, to: new)
        #expect(changes.taken == ["frequency", "interval", "port"] && changes.left == ["listen"])
        #expect(changes.lines == ["frequency, interval, port have changed", "listen keeps its value until kiln is started again"])
        #expect(ConfigurationChanges(from: old, to: old).lines == ["the configuration file has changed nothing"])
        #expect(ConfigurationChanges(from: old, to: old) == ConfigurationChanges(from: new, to: new))
    }

    @Test func whatTheCommandLineGivesDoesNotChange() throws {
        let given = ["--port", "7", "--listen=c"]
        let old = try configured("port = 1\nlisten = 'a'\n", given), new = try configured("port = 2\nlisten = 'b'\njson = false\ncomm = []\n", given)
        let changes = ConfigurationChanges(from: old, to: new)
        #expect(changes.taken.isEmpty && changes.left.isEmpty)
    }
}
