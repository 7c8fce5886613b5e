import Foundation
import Glibc
import KilnModel
import TestSupport
import Testing

/// Names that a local user chooses, and files from elsewhere: whatever kiln prints of them, the terminal obeys none of it, and no name
/// begins a line.
private enum Hostile {
    /// Fits into a process's name. A line that begins with SPLIT is one that a name has begun.
    static let name = "\u{1b}[1m\nSPLIT"
    /// What kiln makes of it.
    static let shown = "\\x1b[1m\\nSPLIT"
    static let text = name + "\u{202e}\u{9b}31m\u{7f}\u{7}\r\u{2028}SPLIT\u{200b}"
    /// In C.
    static let literal = #"\033[1m\nSPLIT\342\200\256"#

    /// What is wrong with what was printed; nil: nothing.
    static func complaint(_ bytes: Data) -> String? {
        guard let text = String(validating: bytes, as: UTF8.self) else { return "it is no UTF-8" }
        for scalar in text.unicodeScalars {
            switch scalar.value {
            case 0x0a, 0x09: continue
            case 0..<0x20, 0x7f...0x9f, 0x200b...0x200f, 0x2028...0x202e, 0x2060...0x206f: return "it holds U+\(String(scalar.value, radix: 16))"
            default: continue
            }
        }
        return text.split(separator: "\n").contains { $0.hasPrefix("SPLIT") } ? "a name begins a line" : nil
    }

    /// Run to the end, and look at all that was printed; standard output, then standard error.
    @discardableResult
    static func run(_ arguments: [String], during load: (() throws -> Void)? = nil) throws -> String {
        let kiln = try KilnRun(Array(arguments.dropFirst()), subcommand: arguments[0])
        if let load {
            guard kiln.attached() else { throw TestFailure("kiln did not attach: \(kiln.errorText)") }
            try load()
            kiln.stop()
        }
        let status = kiln.wait()
        #expect([0, 1, 64].contains(status), "\(arguments) ended with \(status): \(kiln.errorText)")
        for bytes in [kiln.outputBytes, kiln.errorBytes] {
            let found = complaint(bytes)
            #expect(found == nil, "\(arguments): \(String(decoding: bytes, as: UTF8.self).debugDescription.prefix(3000))")
        }
        return kiln.outputText + kiln.errorText
    }
}

struct PrintedTextTests {
    @Test(arguments: ["redis", "record", "syscalls", "functions", "trace", "flamegraph", "collapse", "report", "cost", "doctor", "diff", "help"])
    func helpAndUsageErrorsQuoteArgumentsPrintably(subcommand: String) throws {
        try Hostile.run([subcommand, "--help"])
        let said = try Hostile.run([subcommand] + (subcommand == "syscalls" ? ["-a"] : []) + ["--" + Hostile.text, Hostile.text])
        // It lacks something else, and says that first.
        #expect(said.contains(Hostile.shown) == (subcommand != "diff"), "\(said)")
    }

    @Test func foldedStacksAndTheirFilesArePrintedPrintably() throws {
        let directory = temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let folded = directory + "/" + Hostile.name, script = folded + ".perf"
        // A name of a folded stack ends with its line, so none of these holds a line end.
        let inLine = Hostile.text.replacing("\n", with: "\r")
        try "main;\(inLine);read 12\n\(inLine);b 3\n\(inLine) not a number\n".write(toFile: folded, atomically: true, encoding: .utf8)
        try """
        \(inLine)  77 [000] 1.0: 1 cpu-clock:
        \t  55d0 \(inLine)+0x5 (/usr/bin/\(inLine))
        \t  55d1 main+0x5 (\(directory)/\(inLine))

        \(inLine) nonsense

        """.write(toFile: script, atomically: true, encoding: .utf8)
        #expect(try Hostile.run(["flamegraph", folded]).contains("\\x1b[1m"))
        #expect(try Hostile.run(["flamegraph", "--title", Hostile.text, "--subtitle", Hostile.text, "--notes", Hostile.text, folded]).contains("\\x1b[1m"))
        #expect(try Hostile.run(["diff", folded, folded]).contains("\\x1b[1m"))
        #expect(try Hostile.run(["diff", "--svg", folded, folded]).contains("\\x1b[1m"))
        #expect(try Hostile.run(["collapse", "perf", script]).contains("\\x1b[1m"))
        for subcommand in [["flamegraph"], ["collapse", "perf"], ["report"], ["diff", folded]] {
            #expect(try Hostile.run(subcommand + [directory + "/none" + Hostile.text]).contains(Hostile.shown))
        }
    }

    @Test func aSessionFromElsewhereIsReportedPrintably() throws {
        let directory = temporaryDirectory() + "/" + Hostile.name
        defer { try? FileManager.default.removeItem(atPath: (directory as NSString).deletingLastPathComponent) }
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        let (session, rows) = try ReportTests.files()
        try hostile(session).write(to: URL(fileURLWithPath: directory + "/session.json"))
        var lines = Data()
        for row in rows.split(separator: "\n") { lines += try hostile(String(row)) + [10] }
        try lines.write(to: URL(fileURLWithPath: directory + "/commands.jsonl"))
        let report = try Hostile.run(["report", directory])
        // Of each kind of name one: command, process, file without names, client, system call, function, command whose calls were slow, command that was asked for.
        for name in ["GET", "redis-server", "worker", "libc.so.6", "unix", "call 0", "receive_gaps", "self: lookup", "  GET", "of get"] {
            #expect(report.contains(name + Hostile.shown), "\(name): \(report)")
        }
        // The error words of A and B differ, and so do their losses.
        let other = directory + "/other"
        try FileManager.default.createDirectory(atPath: other, withIntermediateDirectories: true)
        try hostile(session.replacing("\"ERR\"", with: "\"WRONGTYPE\"")).write(to: URL(fileURLWithPath: other + "/session.json"))
        try lines.write(to: URL(fileURLWithPath: other + "/commands.jsonl"))
        #expect(try Hostile.run(["report", directory, other]).contains("WRONGTYPE" + Hostile.shown))
        try Data("{\"kiln\": \(String(decoding: try JSONEncoder().encode(Hostile.text), as: UTF8.self))}".utf8)
            .write(to: URL(fileURLWithPath: other + "/session.json"))
        try Hostile.run(["report", other])
    }

    /// The same JSON with a hostile name behind every text, and behind the keys that are names.
    private func hostile(_ json: String) throws -> Data {
        func changed(_ value: Any, _ key: String) -> Any {
            switch value {
            case let text as String: return key == "side" ? text : text + Hostile.text
            case let list as [Any]: return list.map { changed($0, "") }
            case let object as [String: Any]:
                let hasNames = ["commands", "clients", "syscalls", "lost", "error_words", "judged"].contains(key)
                return Dictionary(uniqueKeysWithValues: object.map { (hasNames ? $0 + Hostile.text : $0, changed($1, hasNames ? "" : $0)) })
            default: return value
            }
        }
        return try JSONSerialization.data(withJSONObject: changed(JSONSerialization.jsonObject(with: Data(json.utf8)), ""), options: [.withoutEscapingSlashes])
    }
}

extension KernelTests {
    @Suite(.enabled(if: Program.canCompile, "no C compiler")) struct PrintedNamesTests {
        @Test func namesOfProcessesFilesAndFunctionsArePrintedPrintably() throws {
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let program = try hostileProgram(in: directory)
            defer { unlink("/tmp/perf-\(program.pid).map") }
            #expect(eventually { access("/tmp/perf-\(program.pid).map", F_OK) == 0 })
            let output = directory + "/session" + Hostile.name
            let pid = "\(program.pid)"
            let recorded = try Hostile.run(["record", "-p", pid, "-F", "999", "--threads", "--verbose", "-o", output]) { try letWork(program.pid, seconds: 1) }
            // The process, the file without names, and where it was written.
            #expect(recorded.contains("attached to \(Hostile.shown)"), "\(recorded)")
            #expect(recorded.contains("in library\(Hostile.shown)"), "\(recorded)")
            #expect(recorded.contains("wrote \(directory)/session\(Hostile.shown)"), "\(recorded)")
            let folded = try String(contentsOfFile: output + "/stacks.folded", encoding: .utf8)
            #expect(Hostile.complaint(Data(folded.utf8)) == nil, "\(folded.debugDescription)")
            for name in ["step\(Hostile.shown)", "jit\\x1b[1m"] { #expect(folded.contains(name), "\(name): \(folded)") }
            #expect(Stacks(folded).lines.count == folded.split(separator: "\n").count)
            try #expect(xmllint(output + "/flamegraph.svg") == nil)
            for file in ["flamegraph.svg", "session.json"] {
                let bytes = try Data(contentsOf: URL(fileURLWithPath: output + "/" + file))
                #expect(Hostile.complaint(bytes) == nil, "\(file)")
            }
            #expect(try Hostile.run(["report", output]).contains(Hostile.shown))
            #expect(try Hostile.run(["record", "-a", "-F", "499", "-o", directory + "/all"]) { try letWork(program.pid, seconds: 1) }.contains(Hostile.shown))
            // What is no server, under each command; a thread's number; a name that nobody has.
            for command in [
                ["redis", "-p", pid, "-d", "0.3", "-o", directory + "/none"], ["trace", "redis", "-p", pid, "-d", "0.3"],
                ["redis", "-p", "\(program.pid)", "--client", "-d", "0.3", "-o", directory + "/client"],
                ["cost", "-p", pid, "-d", "1", "--window", "0.1", "--observer", "none"], ["redis", "--client", "--comm", Hostile.text],
            ] {
                try Hostile.run(command)
            }
            // Its own name before and after, its path and its arguments; and the name of a thread that makes calls.
            let binary = directory + "/" + Hostile.name + "true"
            try FileManager.default.copyItem(atPath: URL(fileURLWithPath: "/bin/true").resolvingSymlinksInPath().path, toPath: binary)
            for form in [[], ["--json"], ["--now"]] {
                let traced = try Hostile.run(["trace", "exec"] + form + ["--with-failed", "--", "sh", "-c", "\"$0\" \"$1\"; :", binary, Hostile.text])
                #expect(traced.contains(form == ["--json"] ? "\\u001b[1m" : "sh -> \(Hostile.shown)"), "\(traced)")
                #expect(traced.contains(form == ["--json"] ? "31m" : "\"\(Hostile.shown)\\xe2"), "\(traced)")
            }
            for form in [[], ["--json"]] {
                #expect(
                    try Hostile.run(["trace", "syscalls", "-p", pid] + form) { try letWork(program.pid, seconds: 0.2) }.contains("attached to \(Hostile.shown)")
                )
                #expect(
                    try Hostile.run(["trace", "syscalls", "exec*,exit*"] + form + ["--", "sh", "-c", "\"$0\" \"$1\"; :", binary, Hostile.text])
                        .contains(form.isEmpty ? "\(Hostile.shown)true execve" : "\\u001b[1m"))
            }
            // Callers in tables, and a probed function.
            for (number, form) in [[], ["--json"], ["--by", "comm"], ["--by", "comm", "--json"]].enumerated() {
                let place = ["-o", "\(directory)/calls\(number)"]
                let counted = try Hostile.run(["syscalls"] + form + place + ["--", "sh", "-c", "\"$0\"; :", binary])
                #expect(counted.contains(form.contains("--json") ? "\\u001b[1m" : "\n\(Hostile.shown)true"), "\(counted)")
            }
            #expect(try Hostile.run(["syscalls", "-p", pid, "-d", "0.3", "-o", directory + "/calls"]).contains("attached to \(Hostile.shown)"))
            for (number, form) in [[], ["--json"]].enumerated() {
                let counted = try Hostile.run(["functions", "-p", pid, "step*", "-o", "\(directory)/functions\(number)"] + form) {
                    try letWork(program.pid, seconds: 0.3)
                }
                #expect(counted.contains("attached to \(Hostile.shown)"), "\(counted)")
                #expect(counted.contains(form.isEmpty ? "\nstep\(Hostile.shown)" : "step\\u001b[1m"), "\(counted)")
            }
            try Hostile.run(["doctor"])
            try Hostile.run(["doctor", "--json"])
        }

        @Test func whatClientsAndServersChooseIsPrintedPrintably() throws {
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            // Its name is of the attacker's choice, too.
            let binary = directory + "/" + Hostile.name
            try FileManager.default.copyItem(atPath: URL(fileURLWithPath: "/usr/bin/redis-server").resolvingSymlinksInPath().path, toPath: binary)
            let port = try freePort()
            let server = try Child(binary, ["--port", "\(port)", "--bind", "127.0.0.1", "--save", "", "--dir", directory, "--enable-debug-command", "yes"])
            #expect(eventually { (try? Connection(port: port)) != nil })
            func load() throws {
                let client = try Connection(port: port)
                for _ in 0..<7 {
                    try client.send(request(Hostile.text, Hostile.text))
                    try client.send(request("EVAL", "return redis.error_reply(ARGV[1])", "0", "\u{1b}[1mSPLIT \u{202e}"))
                    try client.send(request("EVAL", "return ARGV[1]", "0", Hostile.text))
                }
                try client.settle()
            }
            let pid = ["-p", "\(server.pid)"]
            for (arguments, expected) in [
                (["redis"] + pid + ["--histograms", "-i", "0.2", "--audit", "--verbose"], "\\x1b[1m"),
                (["redis"] + pid + ["--json"], "\\u001b[1m"), (["trace", "redis"] + pid, "\\x1b[1m"),
                (["trace", "redis"] + pid + ["--brief"], "\\x1b[1m"), (["trace", "redis"] + pid + ["--json"], "\\\\x1b[1m"),
            ] {
                let place = arguments[0] == "redis" ? ["-o", "\(directory)/\(UInt32.random(in: 0...UInt32.max))"] : []
                let said = try Hostile.run(arguments + place, during: load)
                #expect(said.contains(expected) || said.contains(expected.uppercased().replacing("\\X1B", with: "\\x1b")), "\(arguments): \(said)")
                #expect(said.contains(Hostile.shown), "\(arguments): \(said)")
            }
        }

        /// A program whose name, file, functions and library are named by an attacker, and one that compiles just in time.
        private func hostileProgram(in directory: String) throws -> Child {
            try """
            #include <dlfcn.h>
            #include <stdio.h>
            #include <string.h>
            #include <sys/mman.h>
            #include <sys/prctl.h>
            #include <unistd.h>
            volatile unsigned long sink;
            __attribute__((noinline)) void step(void) { for (int i = 0; i < 1000000; i++) sink = sink * 3 + 1; }
            int main(int argc, char **argv) {
                /* mov $1000000, %ecx; again: dec %ecx; jnz again; ret */
                unsigned char code[] = { 0xb9, 0x40, 0x42, 0x0f, 0x00, 0xff, 0xc9, 0x75, 0xfc, 0xc3 };
                void *at = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                void (*work)(void) = (void (*)(void))dlsym(dlopen(argv[1], RTLD_NOW), "work");
                char path[64];
                FILE *map;
                memcpy(at, code, sizeof code);
                prctl(PR_SET_NAME, "\(Hostile.literal)");
                snprintf(path, sizeof path, "/tmp/perf-%d.map", getpid());
                map = fopen(path, "w");
                fprintf(map, "%lx 1000 jit\\033[1m\\r\\342\\200\\256;SPLIT 12\\n", (unsigned long)at);
                fclose(map);
                for (;;) { step(); work(); ((void (*)(void))at)(); }
            }
            """.write(toFile: directory + "/program.c", atomically: true, encoding: .utf8)
            try """
            volatile unsigned long sink;
            __attribute__((noinline)) static void hidden(void) { for (int i = 0; i < 1000000; i++) sink = sink * 3 + 1; }
            __attribute__((noinline)) void work(void) { hidden(); sink++; }
            """.write(toFile: directory + "/library.c", atomically: true, encoding: .utf8)
            let library = directory + "/library" + Hostile.name, binary = directory + "/" + Hostile.name
            for command in [
                ["cc", "-O1", "-c", "-o", "program.o", "program.c"], ["objcopy", "--redefine-sym", "step=step" + Hostile.text, "program.o"],
                ["cc", "-o", binary, "program.o", "-ldl"], ["cc", "-O1", "-shared", "-fPIC", "-s", "-o", library, "library.c"],
            ] {
                let status = try Child("env", ["-C", directory] + command, errors: directory + "/errors").wait()
                guard status == 0 else {
                    throw TestFailure("\(command): \((try? String(contentsOfFile: directory + "/errors", encoding: .utf8)) ?? "")")
                }
            }
            return try Child(binary, [library, Hostile.text])
        }
    }
}
