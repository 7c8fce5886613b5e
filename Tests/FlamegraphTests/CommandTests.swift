import Foundation
import Testing
@testable import Flamegraph

/// Stacks of two commands, a pipeline and the event loop, and the same without commands.
let stacksByCommand = """
    srv;GET;exec;main;call;lookup 20
    srv;GET;exec;main;call;lookup;hash 10
    srv;GET;reply;main;write_[k] 30
    srv;SET;exec;main;call;store 25
    srv;SET;read;main;read_[k] 5
    srv;[pipeline];exec;main;call;lookup 4
    srv;[event loop];main;poll_[k] 4
    srv;[unknown: io-threads];thread 2

    """
let stacksMerged = """
    srv;main;call;lookup 24
    srv;main;call;lookup;hash 10
    srv;main;write_[k] 30
    srv;main;call;store 25
    srv;main;read_[k] 5
    srv;main;poll_[k] 4
    srv;thread 2

    """

func byCommand(_ text: String, _ commands: FoldedReading.Commands = .areKeptApart) -> FoldedStacks {
    var reading = FoldedReading()
    reading.commands = commands
    return FoldedStacks(parsing: Array(text.utf8), reading)
}

/// Stacks of some commands and depths, and the same without commands.
func randomByCommand(seed: UInt64, lines: Int) -> (byCommand: String, merged: String) {
    var generator = SeededGenerator(seed: seed)
    let commands = ["GET", "SET", "ZADD", "other", "[pipeline]", "[event loop]", "[background]", "[unknown: io-threads]", "GET (slow)", "FT.SEARCH"]
    var (apart, merged) = ("", "")
    for _ in 0..<lines {
        let command = commands.randomElement(using: &generator) ?? ""
        let phase = CommandStack.hasPhases(Array(command.utf8)) ? ["exec", "reply", "read"].randomElement(using: &generator).map { "\($0);" } ?? "" : ""
        let frames = (0..<Int.random(in: 1...8, using: &generator)).map { depth in "f\(depth)_\(Int.random(in: 0...2, using: &generator))" }
        let tail = "\(frames.joined(separator: ";")) \(Int.random(in: 1...30, using: &generator))\n"
        apart += "srv;\(command);\(phase)\(tail)"
        merged += "srv;\(tail)"
    }
    return (apart, merged)
}

/// Stacks that name commands, read and drawn.
@Suite struct StackCommandTests {
    /// The profile in a picture.
    private func profile(_ picture: [UInt8]) throws -> [String: Any] {
        let svg = text(picture)
        let start = try #require(svg.range(of: "<metadata class=\"profile\">")), end = try #require(svg.range(of: "</metadata>"))
        return try #require(JSONSerialization.jsonObject(with: Data(svg[start.upperBound..<end.lowerBound].utf8)) as? [String: Any])
    }

    private func commands(_ picture: [UInt8]) throws -> [[String: Any]] {
        let commands = try #require(profile(picture)["commands"] as? [String: Any])
        return try #require(commands["list"] as? [[String: Any]])
    }

    private func parts(_ command: [String: Any]) throws -> [(phase: String, weights: [Int: Int])] {
        try #require(command["parts"] as? [[String: Any]]).map { part in
            let places = try #require(part["places"] as? [Int])
            var place = 0, weights: [Int: Int] = [:]
            for index in stride(from: 0, to: places.count, by: 2) {
                place += places[index]
                weights[place] = places[index + 1]
            }
            return (try #require(part["phase"] as? String), weights)
        }
    }

    /// Without what the choice needs.
    private func withoutCommands(_ picture: [UInt8]) throws -> String {
        let svg = text(picture)
        let start = try #require(svg.range(of: "\"commands\":{")), end = try #require(svg.range(of: "\"names\":["))
        return String(svg[..<start.lowerBound] + svg[end.lowerBound...])
    }

    @Test(arguments: [0, 5, 20])
    func thePictureIsThatOfTheMergedStacks(minWidth: Double) throws {
        for (apart, merged) in [(stacksByCommand, stacksMerged), randomByCommand(seed: 3, lines: 300)] {
            var lines: [Substring: Int] = [:]
            for line in merged.split(separator: "\n") {
                let blank = line.lastIndex(of: " ") ?? line.endIndex
                lines[line[..<blank], default: 0] += Int(line[blank...].dropFirst()) ?? 0
            }
            var options = FlamegraphOptions(notes: ["note"])
            options.minWidth = minWidth
            let expected = try drawn(folded(lines.map { "\($0.key) \($0.value)\n" }.joined()), options)
            #expect(try withoutCommands(drawn(byCommand(apart), options)) == text(expected))
        }
    }

    @Test func theChoiceIsOrderedByWeightAndEndsWithWhatIsNoCommand() throws {
        let more = stacksByCommand + "srv;[background];free 90\nsrv;[unknown: no_turn];x 1\nsrv;NONE;exec;x 0\n"
        let names = try commands(drawn(byCommand(more))).map { $0["name"] as? String }
        #expect(names == ["GET", "SET", "[pipeline]", "[event loop]", "[background]", "[unknown: io-threads]", "[unknown: no_turn]"])
        #expect(try parts(commands(drawn(byCommand(more)))[0]).map(\.phase) == ["exec", "reply"])
    }

    @Test(arguments: [0, 2, 30])
    func allCommandsTogetherAreTheBoxes(minWidth: Double) throws {
        var options = FlamegraphOptions()
        options.minWidth = minWidth
        let picture = try drawn(byCommand(randomByCommand(seed: 11, lines: 400).byCommand), options)
        let frames = try #require(profile(picture)["frames"] as? [Int])
        var sums: [Int: Int] = [:]
        for command in try commands(picture) { for part in try parts(command) { sums.merge(part.weights, uniquingKeysWith: +) } }
        let boxes = stride(from: 0, to: frames.count, by: 5).map { at in (depth: frames[at], total: frames[at + 3], own: frames[at + 4]) }
        for (index, box) in boxes.enumerated() {
            var children = 0
            for child in boxes[(index + 1)...].prefix(while: { $0.depth > box.depth }) where child.depth == box.depth + 1 { children += child.total }
            #expect(sums[2 * index, default: 0] == box.own)
            #expect(sums[2 * index + 1, default: 0] == box.total - box.own - children)
        }
        #expect(sums.values.reduce(0, +) == boxes[0].total)
    }

    @Test func weightsByKindAreThoseOfTheirStacks() throws {
        let part = try #require(commands(drawn(byCommand("# roots: processes\n" + stacksByCommand + "srv;GET;exec 7\n")))[0]["parts"] as? [[String: Any]])
        // What ends in the process is of no kind.
        let kinds = part.map { $0["kinds"] as? [Int] }
        #expect(kinds == [[30, 0, 0, 0, 0, 0, 0], [0, 30, 0, 0, 0, 0, 0]])
    }

    @Test func aSubsetHasThePhaseAndNotTheCommand() {
        #expect(
            text(byCommand(stacksByCommand, .areChosen(["get"])).foldedText())
                == "srv;exec;main;call;lookup 20\nsrv;exec;main;call;lookup;hash 10\nsrv;reply;main;write_[k] 30\n")
        let two = byCommand(stacksByCommand, .areChosen(["SET", "[Event Loop]"]))
        #expect(text(two.foldedText()) == "srv;exec;main;call;store 25\nsrv;main;poll_[k] 4\nsrv;read;main;read_[k] 5\n")
        #expect(two.commandNames == ["GET", "SET", "[event loop]", "[pipeline]", "[unknown: io-threads]"])
        let none = byCommand(stacksByCommand, .areChosen(["NONE"]))
        let (isEmpty, haveCommands) = (none.isEmpty, none.haveCommands)
        #expect(isEmpty && haveCommands)
    }

    /// Of a session that tells slow calls from fast ones.
    @Test func aCommandIsItsSlowAndItsFastCalls() {
        let folded = "srv;GET (slow);exec;main 3\nsrv;GET (fast);exec;main 9\nsrv;[pipeline] (slow);exec;main 4\nsrv;GETEX (slow);exec;main 5\n"
        func chosen(_ names: String...) -> String { text(byCommand(folded, .areChosen(names)).foldedText()) }
        let both = "srv;GET (fast);exec;main 9\nsrv;GET (slow);exec;main 3\n"
        #expect(chosen("get") == both && chosen("GET", "GET (slow)") == both)
        #expect(chosen("Get (Slow)") == "srv;exec;main 3\n")
        #expect(chosen("[pipeline]") == "srv;[pipeline] (slow);exec;main 4\n")
        #expect(chosen("GE").isEmpty && chosen("GET (").isEmpty)
    }

    @Test func aCommandStandsBehindTheThreadToo() {
        let stacks = byCommand("srv;srv;GET;exec;main 3\nsrv;bio;[background];free 2\nsrv;srv;[event loop] 1\n")
        let haveCommands = stacks.haveCommands
        #expect(haveCommands)
        #expect(text(stacks.foldedText()) == "srv;bio;free 2\nsrv;srv 1\nsrv;srv;main 3\n")
        #expect(text(byCommand("srv;srv;GET;exec;main 3\n", .areChosen(["GET"])).foldedText()) == "srv;srv;exec;main 3\n")
    }

    @Test(arguments: ["srv;main;read 1\n", "srv 1\n", "srv;GET;main 1\n", "srv;;exec;main 1\n", stacksByCommand + "srv;main;work;read 1\n"])
    func stacksWithoutCommandsOfferNone(folded: String) throws {
        let stacks = byCommand(folded)
        let haveCommands = stacks.haveCommands
        #expect(!haveCommands)
        #expect(!text(try drawn(stacks)).contains("\"commands\""))
    }

    @Test func framesThatAreCalledLikeCommandsAndPhasesStayFrames() {
        #expect(text(byCommand("srv;[event loop];exec;GET;exec 1\nsrv;GET;exec;exec;reply 2\n").foldedText()) == "srv;exec;GET;exec 1\nsrv;exec;reply 2\n")
    }

    @Test func decimalsFactorsAndOtherUnitsAreExactAndHaveNoIntervals() throws {
        var stacks = byCommand("srv;GET;exec;a 3\nsrv;SET;exec;a 0.25\nsrv;GET;exec;a 1.5\n")
        #expect(try parts(commands(drawn(stacks))[0])[0].weights == [4: 450])
        #expect(text(try drawn(stacks)).contains("\"commands\":{\"sampled\":true"))
        let ten = try #require(ExactNumber("10"))
        let fits = stacks.multiply(by: ten)
        #expect(fits)
        #expect(try parts(commands(drawn(stacks))[0])[0].weights == [4: 4500])
        #expect(text(try drawn(stacks)).contains("\"commands\":{\"sampled\":false"))
        #expect(text(try drawn(byCommand(stacksByCommand), FlamegraphOptions(countName: "ns"))).contains("\"commands\":{\"sampled\":false"))
    }

    @Test func callsAreThoseOfTheOptions() throws {
        var options = FlamegraphOptions()
        options.callsByCommand = ["GET": 12_000, "OTHER": 3]
        let found = try commands(drawn(byCommand(stacksByCommand + "srv;other;exec;x 1\n"), options))
        var calls: [String: Int] = [:]
        for command in found { calls[command["name"] as? String ?? ""] = command["calls"] as? Int }
        #expect(calls == ["GET": 12_000, "other": 3])
    }

    @Test func hostileCommandsAreText() throws {
        var input: [UInt8] = []
        let names = hostileNames.filter { !$0.contains(UInt8(ascii: ";")) }
        for name in names {
            input += Array("main;X".utf8) + name + Array(";exec;leaf 18446744073709551\n".utf8)
        }
        var reading = FoldedReading()
        reading.commands = .areKeptApart
        let picture = try drawn(FoldedStacks(parsing: input, reading), hostileOptions())
        #expect(text(picture).components(separatedBy: "<script").count == 2)
        #expect(try commands(picture).count == names.count)
    }

    @Test func tenCommandsTakeLessThanAThirdMore() throws {
        let (apart, merged) = randomByCommand(seed: 5, lines: 3000)
        let viewer = viewerScript.count + viewerStyle.count
        let (with, without) = (try drawn(byCommand(apart)).count - viewer, try drawn(folded(merged)).count - viewer)
        #expect(Double(with) < 1.3 * Double(without), "\(with) of \(without)")
    }
}
