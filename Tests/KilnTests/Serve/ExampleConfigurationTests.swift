import Foundation
import TestSupport
import Testing

@testable import kiln

/// `systemd/kiln.toml`, with the marks of comments taken from its options.
struct ExampleConfigurationTests {
    /// `leftOut`: an option that stays a comment.
    private static func uncommented(but leftOut: String) throws -> String {
        let text = try String(contentsOf: ServiceUnit.folder.appendingPathComponent("kiln.toml"), encoding: .utf8)
        return text.replacing(/(?m)^#([a-z-]+)( = )/) { $0.output.1 == leftOut ? String($0.output.0) : "\($0.output.1) = " }
    }

    /// Of options that exclude each other, one at a time.
    @Test(arguments: [("share", "max-cost"), ("max-cost", "share")])
    func everyOptionIsThereWithAValueThatIsTaken(leftOut: String, taken: String) throws {
        let directory = try TemporaryDirectory(), file = try directory.write(Array(try Self.uncommented(but: leftOut).utf8), as: "kiln.toml")
        let configured = try ConfiguredArguments(["--config", file.path], of: ServeCommand.self)
        _ = try configured.parse(as: ServeCommand.self)
        let options = try OptionCatalog(of: ServeCommand.self).options.filter(\.isShown).map(\.name)
        #expect(configured.settings.contains { $0.name == taken })
        #expect(Set(configured.settings.map(\.name)) == Set(options).subtracting(["config", "help", "version", leftOut]))
    }

    /// As it is installed, it changes nothing.
    @Test func nothingIsInForce() throws {
        let path = ServiceUnit.folder.appendingPathComponent("kiln.toml").path
        #expect(try ConfiguredArguments(["--config", path], of: ServeCommand.self).arguments == ["--config", path])
    }
}
