import Foundation
import Testing

/// What `kiln doctor` says, against what kiln then does.
extension KernelTests {
    @Suite struct DoctorTests {
        private struct Diagnosis: Decodable {
            struct Capability: Decodable {
                var name, group, words, takes_away, remedy: String
                var present, required: Bool
            }
            var can_profile: Bool
            var hook: String?
            var capabilities: [Capability]
        }

        @Test func theHooksItFindsAreThoseThatAttach() throws {
            let kiln = try KilnRun(["--json"], subcommand: "doctor")
            #expect(kiln.wait() == 0)
            #expect(kiln.errorText.isEmpty)
            let diagnosis = try JSONDecoder().decode(Diagnosis.self, from: Data(kiln.outputText.utf8))
            #expect(diagnosis.can_profile)
            #expect(diagnosis.capabilities.filter { $0.group == "hooks" && $0.present }.map(\.name) == Capability.hooks)
            #expect(diagnosis.hook == Capability.hooks.first)
            #expect(
                diagnosis.capabilities.filter { $0.group == "features" && $0.present }.map(\.name)
                    == [
                        "single requests", "client's side", "system calls", "times of system calls", "stacks", "events", "functions", "single system calls",
                        "executed programs",
                    ])
            for capability in diagnosis.capabilities where !capability.present {
                #expect(!capability.words.isEmpty && !capability.takes_away.isEmpty && !capability.remedy.isEmpty)
            }
        }

        @Test func missingRunTimeStatisticsAreToldWithWhatTheyTakeAway() throws {
            let kiln = try KilnRun(["--json"], subcommand: "doctor", wrapper: Capability.withoutAdministration)
            #expect(kiln.wait() == 0)
            let diagnosis = try JSONDecoder().decode(Diagnosis.self, from: Data(kiln.outputText.utf8))
            let statistics = try #require(diagnosis.capabilities.first { $0.name == "run-time statistics" })
            #expect(!statistics.present && !statistics.required && diagnosis.can_profile)
            #expect(statistics.takes_away.contains("--max-cost") && statistics.takes_away.contains("kiln cost"))
            #expect(statistics.remedy.contains("CAP_SYS_ADMIN"))
        }

        @Test func withoutPrivilegesItSaysSoAndFails() throws {
            let kiln = try KilnRun([], subcommand: "doctor", wrapper: ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"])
            #expect(kiln.wait() == 1)
            #expect(kiln.outputText.contains("CAP_BPF"))
            #expect(kiln.outputText.hasSuffix("can't run here without: privileges.\n"))
        }
    }
}
