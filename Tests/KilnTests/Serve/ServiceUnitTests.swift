import Foundation
import Glibc
import TestSupport
import Testing

@testable import kiln

/// The files in `systemd/`.
enum ServiceUnit {
    static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../../../systemd").standardized

    static func text() throws -> String { try String(contentsOf: folder.appendingPathComponent("kiln.service"), encoding: .utf8) }

    /// The words behind a setting of the unit.
    static func words(of setting: String) throws -> [String] {
        try text().split(separator: "\n").filter { $0.hasPrefix(setting + "=") }.flatMap {
            $0.dropFirst(setting.utf8.count + 1).split(separator: " ").map(String.init)
        }
    }
}

/// What systemd says of the unit, without running it.
@Suite(.enabled(if: access("/usr/bin/systemd-analyze", X_OK) == 0, "systemd-analyze is missing"))
struct ServiceUnitTests {
    /// systemd-analyze and what it prints about a copy of the unit whose programs exist here.
    private func analyze(_ arguments: [String]) throws -> (status: Int32, output: String) {
        let directory = try TemporaryDirectory()
        let unit = try ServiceUnit.text().replacing("/usr/local/bin/kiln ", with: "/bin/true ").replacing(
            "file:/usr/local/share/doc/kiln/usage.md", with: "https://example.org/")
        let file = try directory.write(Array(unit.utf8), as: "kiln.service")
        let output = directory.url.path + "/out"
        let child = try Child("/usr/bin/systemd-analyze", arguments + [file.path], output: output, errors: output)
        let status = child.wait()
        return (status, try String(contentsOfFile: output, encoding: .utf8))
    }

    @Test func systemdFindsNothingWrong() throws {
        let (status, output) = try analyze(["verify", "--man=no"])
        #expect(status == 0 && output == "")
    }

    /// In tenths; docs/usage.md has the number.
    @Test func littleIsExposed() throws {
        let (status, output) = try analyze(["security", "--offline=true", "--threshold=28", "--no-pager"])
        #expect(status == 0, "\(output.suffix(200))")
    }

    @Test func theCapabilitiesAreThoseThatKilnAsksFor() throws {
        let capabilities = ["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN", "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"]
        #expect(try ServiceUnit.words(of: "AmbientCapabilities") == capabilities && ServiceUnit.words(of: "CapabilityBoundingSet") == capabilities)
    }
}
