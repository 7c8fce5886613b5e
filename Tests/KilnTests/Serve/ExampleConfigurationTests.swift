import Foundation
import TestSupport
import Testing

@testable import kiln

/// `systemd/kiln.toml`, with the marks of comments taken from its options.
struct ExampleConfigurationTests {
    private static func uncommented() throws -> String {
        let text = try String(contentsOf: ServiceUnit.folder.appendingPathComponent("kiln.toml"), encoding: .utf8)
        return text.replacing(/(?m)^#([a-z-]+ = )/) { String($0.output.1) }
    }

    @Test func everyOptionIsThereWithAValueThatIsTaken() throws {
        let directory = try TemporaryDirectory(), file = try directory.write(Array(try Self.uncommented().utf8), as: "kiln.toml")
        let configured = try ConfiguredArguments(["--config", file.path], of: ServeCommand.self)
        _ = try configured.parse(as: ServeCommand.self)
        let options = try OptionCatalog(of: ServeCommand.self).options.filter(\.isShown).map(\.name)
        #expect(Set(configured.settings.map(\.name)) == Set(options).subtracting(["config", "help", "version"]))
    }

    /// As it is installed, it changes nothing.
    @Test func nothingIsInForce() throws {
        let path = ServiceUnit.folder.appendingPathComponent("kiln.toml").path
        #expect(try ConfiguredArguments(["--config", path], of: ServeCommand.self).arguments == ["--config", path])
    }
}
