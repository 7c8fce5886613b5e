import Foundation
import Glibc
import TestSupport
import Testing

@testable import kiln

/// `kiln functions --list`, which needs neither root nor BPF.
struct FunctionListingTests {
    private func list(_ arguments: [String], status: Int32 = 0) throws -> (output: [String], errors: String) {
        let kiln = try KilnRun(["--list"] + arguments, subcommand: "functions")
        #expect(kiln.wait() == status, "\(arguments): \(kiln.errorText)")
        return (kiln.outputText.split(separator: "\n").map(String.init), kiln.errorText)
    }

    @Test func theCLibrarysFunctionsHavePlacesAndReasons() throws {
        let (lines, summary) = try list(["libc", "pthread_spin_lock", "getpid"])
        #expect(lines.count == 3 && lines[0].hasSuffix("function"))
        #expect(lines.contains { $0.hasSuffix("  getpid") })
        #expect(lines.contains { $0.hasSuffix("  pthread_spin_lock: not probed, it begins with a lock prefix, which the kernel refuses") })
        #expect(summary.contains("2 functions, 1 of them can be probed; not: 1 with a first instruction that the kernel refuses"))
    }

    @Test func aProcessHasItsProgramOrALibrary() throws {
        let target = try Child("sleep", ["60"])
        let (records, _) = try list(["-p", "\(target.pid)", "--json"])
        #expect(!records.isEmpty && records.allSatisfy { $0.contains("/sleep\"") })
        let (library, _) = try list(["-p", "\(target.pid)", "--lib", "libc", "malloc", "--json"])
        #expect(library.count == 1 && library[0].contains("\"can_be_probed\":true") && library[0].contains("/libc.so"))
        #expect(try list(["-p", "\(target.pid)", "--lib", "libnothing", "x"], status: 1).errors.contains("no process has loaded a library named libnothing"))
    }

    @Test func whatIsNotThereIsSaidWithWhatIsNear() throws {
        #expect(try list(["libc", "getpidd"], status: 1).errors.contains("has no function getpidd; near: getpid"))
        #expect(try list(["/nonexistent", "x"], status: 1).errors.contains("cannot read /nonexistent: No such file or directory"))
        #expect(try list(["/etc/passwd"], status: 1).errors.contains("is not an ELF file"))
        #expect(try list(["libc", "a\\"], status: 64).errors.contains("ends with a backslash"))
        #expect(try list([], status: 64).errors.contains("no file is given"))
        #expect(try list(["libc", "getpid", "nosuchfunction"]).errors.contains("has no function nosuchfunction"))
    }

    @Test func aCommandBehindTwoDashesIsAProgram() throws {
        #expect(try list(["*", "--json", "--", "sleep", "-1"]).output.contains { $0.contains("/sleep\"") })
        #expect(FunctionsCommand.withCommandOption(["functions", "a*", "--", "x", "--"]) == ["functions", "a*", "--command", "x", "--"])
        #expect(FunctionsCommand.withCommandOption(["record", "--", "x"]) == ["record", "--", "x"])
    }
}
