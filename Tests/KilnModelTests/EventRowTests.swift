import KilnModel
import Testing

/// Lines of executed programs and of system calls.
struct EventRowTests {
    private func program(_ words: [String], file: String = "/usr/bin/tool") -> ExecutedProgram {
        var program = ExecutedProgram()
        program.number = 1
        program.pid = 12
        program.tid = 12
        program.parent = 3
        program.commBefore = "sh"
        program.comm = "tool"
        program.file = Array(file.utf8)
        program.arguments = words.map { Array($0.utf8) }
        program.argumentCount = words.count
        program.argumentBytes = UInt64(words.reduce(0) { $0 + $1.utf8.count + 1 })
        return program
    }

    private func line(_ program: ExecutedProgram, _ end: ProgramEnd? = nil) -> String {
        ExecutionRow(program, time: "", user: nil, ending: end.map { .init($0, ran: Nanoseconds(1_500_000)) }).line
    }

    @Test func aProgramsLineSaysHowItEnded() {
        let tool = program(["tool", "a b", ""])
        let who = "pid 12 ppid 3 uid 0 sh -> tool: /usr/bin/tool \"a b\" \"\""
        #expect(line(tool) == who)
        #expect(line(tool, ProgramEnd(waitStatus: 7 << 8)) == who + " | exit status 7 after 1.50 ms")
        #expect(line(tool, ProgramEnd(waitStatus: 11 | 0x80)) == who + " | killed by SIGSEGV (core dumped) after 1.50 ms")
        #expect(line(tool, ProgramEnd(waitStatus: 35)) == who + " | killed by SIGRTMIN+1 after 1.50 ms")
        #expect(line(tool, .replaced) == who + " | executed another program after 1.50 ms")
        #expect(line(tool, .running) == who + " | still running after 1.50 ms")
        #expect(line(tool, .unknown) == who + " | its end was lost")
    }

    @Test func aProgramsLineSaysWhatIsMissing() {
        var cut = program(["tool", "abc"])
        cut.lastArgumentIsCut = true
        cut.argumentCount = 4
        cut.argumentBytes = 30
        #expect(line(cut).hasSuffix("tool abc ...(the rest of this, and 2 more arguments, 22 bytes)"))
        cut.argumentCount = 2
        #expect(line(cut).hasSuffix("tool abc ...(22 bytes)"))
        cut.lastArgumentIsCut = false
        cut.argumentCount = 3
        #expect(line(cut).hasSuffix("tool abc ...(1 more argument, 21 bytes)"))
        cut.argumentCount = nil
        #expect(line(cut).hasSuffix("tool abc ...(more arguments)"))
        cut.argumentsAreUnreadable = true
        cut.error = 14
        #expect(line(cut).hasSuffix("tool: /usr/bin/tool abc ...(arguments not readable) | EFAULT"))
    }

    @Test func aScriptsLineHasWhatWasAskedFor() {
        var script = program(["/bin/sh", "-e", "./run", "x"], file: "./run")
        script.interpreter = Array("/bin/sh".utf8)
        #expect(line(script).hasSuffix("./run x (run by /bin/sh)"))
        #expect(line(program(["-tool", "x"])).hasSuffix("/usr/bin/tool (as -tool) x"))
        #expect(line(program([])).hasSuffix(": /usr/bin/tool"))
    }

    @Test(arguments: [
        ("int dfd", UInt64(bitPattern: -100), "-100"), ("unsigned int fd", 0xffff_ffff, "-1"), ("unsigned long fd", .max, "-1"),
        ("const char * filename", 0x7ffc_0000, "0x7ffc0000"), ("umode_t mode", 0o644, "0644"), ("umode_t mode", 0, "0"), ("size_t count", 4096, "4096"),
        ("unsigned long addr", 0x1000, "0x1000"), ("unsigned long new_len", 0x7f00_0000_1000, "0x7f0000001000"), ("loff_t pos", .max, "-1"),
        ("int flags", 0x80000, "0x80000"),
        ("uid_t user", 0xffff_ffff, "4294967295"), ("const char *const * argv", 0, "0x0"), ("cap_user_header_t header", 16, "0x10"),
    ])
    func anArgumentIsShownAsItsDeclarationSays(declaration: String, value: UInt64, shown: String) throws {
        let argument = try #require(CallArgument(declaration: declaration))
        #expect(argument.text(value) == shown)
        #expect(declaration.hasSuffix(argument.name))
    }

    @Test func aCallsLineHasItsErrorOrItsReturn() {
        var call = TracedCall(
            call: SystemCall(0), pid: 5, tid: 6, comm: "tool", arguments: [3, 0x1000, 10, 0, 0, 0], entered: Nanoseconds(100), ended: Nanoseconds(350),
            returned: 10)
        let takes = [CallArgument(declaration: "unsigned int fd"), CallArgument(declaration: "char * buf"), CallArgument(declaration: "size_t count")]
        func line() -> String { CallRow(call, time: "", takes: takes.compactMap(\.self)).line }
        #expect(line() == "pid 5 tid 6 tool read(fd=3, buf=0x1000, count=10) = 10 | 250 ns")
        call.returned = -11
        #expect(line().hasSuffix("= -1 EAGAIN | 250 ns"))
        call.returned = -512
        #expect(line().hasSuffix("= ? ERESTARTSYS | 250 ns"))
        #expect(
            CallRow(TracedCall(call: SystemCall(12), pid: 1, tid: 1, comm: "", arguments: [], entered: nil, ended: .zero, returned: 4096), time: "", takes: [])
                .line.contains("brk() = 0x1000 "))
        call.returned = 0x7f00_0000_0000
        #expect(line().hasSuffix("= 0x7f0000000000 | 250 ns"))
        call.returned = nil
        call.entered = nil
        #expect(line().hasSuffix("count=10) = ? | its entry was not seen"))
        call.beganBefore = true
        #expect(line().hasSuffix("count=10) = ? | began before the session"))
        #expect(CallRow(call, time: "", takes: nil).arguments == ["0x3", "0x1000", "0xa", "0x0", "0x0", "0x0"])
    }
}
