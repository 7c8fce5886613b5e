import ArgumentParser
import KilnModel

/// Which system calls, by name and by class.
struct SystemCallOptions: ParsableArguments {
    @Option(
        name: .customLong("call"),
        help: ArgumentHelp("Only calls with this name, or with names like this pattern ('epoll_*'); repeat for several.", valueName: "name"))
    var calls: [String] = []

    @Option(
        name: .customLong("class"),
        help: ArgumentHelp(
            "Only calls of this class, or of several with commas between them: \(SystemCallClass.allCases.map(\.rawValue).joined(separator: ", ")).",
            valueName: "class"))
    var classes: [String] = []

    func validate() throws { _ = try chosen() }

    /// Those of all names and classes together, and of `more` names; nil: none is given.
    func chosen(and more: [String] = []) throws -> Set<SystemCall>? {
        var chosen: Set<SystemCall>?
        for name in calls + more {
            let matching = SystemCall.matching(name)
            guard !matching.isEmpty else { throw ValidationError("no system call is named \(name).\(near(name, SystemCall.named.map(\.name)))") }
            chosen = (chosen ?? []).union(matching)
        }
        for name in classes.flatMap({ $0.split(separator: ",").map(String.init) }) {
            guard let found = SystemCallClass(rawValue: name) else {
                throw ValidationError("no class of system calls is named \(name): give \(SystemCallClass.allCases.map(\.rawValue).joined(separator: ", ")).")
            }
            chosen = (chosen ?? []).union(found.calls)
        }
        return chosen
    }

    private func near(_ name: String, _ names: [String]) -> String {
        let near = nearNames(to: name, among: Set(names))
        return near.isEmpty ? "" : " Similar: \(near.joined(separator: ", "))."
    }
}
