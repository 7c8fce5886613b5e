/// Stacks of a server by what it worked on: `process;GET;exec;frame;…`.
///
/// Behind the process, and the thread if stacks have its name, stands a command's name in capitals, `other`, or what the server did besides in
/// brackets, as in `[event loop]`. Commands and `[pipeline]`, commands of several names that were read together, are followed by their phase.
extension FoldedReading {
    /// What is done with the frames that name commands and phases.
    public enum Commands: Sendable {
        /// They are frames like others.
        case areFrames
        /// They are left out, and what each command weighs is kept with the merged stacks, so that a picture lets its reader choose a command,
        /// unless stacks are reversed.
        case areKeptApart
        /// Only the stacks of these commands are read, with the phase and without the command. Case does not matter. `GET` means the stacks of
        /// `GET (slow)` and `GET (fast)`, too, which keep these frames.
        case areChosen([String])
    }

    /// Whether the name of a command that is asked for means a command that stacks name.
    public static func isCommand(_ asked: String, _ command: String) -> Bool {
        let asked = asked.uppercased(), command = command.uppercased()
        return command == asked || isEitherVerdict(of: asked, command)
    }

    /// Both in capitals.
    static func isEitherVerdict(of asked: String, _ command: String) -> Bool { command == asked + " (SLOW)" || command == asked + " (FAST)" }
}

/// The phases of a command, as folded stacks name them.
package enum CommandPhase: String, CaseIterable {
    case exec, reply, read
}

/// A stack that names a command, in parts.
package struct CommandStack {
    package let command: [UInt8]
    /// Nil for what is in brackets and has no phase.
    package let phase: CommandPhase?
    /// The process, and the thread where stacks have it.
    package let process: ArraySlice<ArraySlice<UInt8>>
    package let frames: ArraySlice<ArraySlice<UInt8>>

    /// Nil where neither the second nor, behind a thread's name, the third frame is a command.
    package init?(_ stack: some Collection<UInt8>) {
        let all = Array(stack).split(separator: UInt8(ascii: ";"), omittingEmptySubsequences: false)
        for place in 1...2 where place < all.count {
            let name = Array(all[place])
            let next = place + 1 < all.count ? CommandPhase(rawValue: String(decoding: all[place + 1], as: UTF8.self)) : nil
            let hasPhase = Self.hasPhases(name)
            if hasPhase, next == nil || !Self.mayBeCommand(name) { continue }
            command = name
            phase = hasPhase ? next : nil
            process = all[..<place]
            frames = all[(place + (hasPhase ? 2 : 1))...]
            return
        }
        return nil
    }

    /// Functions and threads mostly begin with a small letter, and a phase may be a function's name too.
    private static func mayBeCommand(_ name: [UInt8]) -> Bool {
        guard let first = name.first else { return false }
        return !(UInt8(ascii: "a")...UInt8(ascii: "z")).contains(first) || name.starts(with: "other".utf8)
    }

    /// Whether stacks of this name have a phase: not those of the event loop's other work, of background threads and of what is unknown.
    static func hasPhases(_ command: [UInt8]) -> Bool {
        command.first != UInt8(ascii: "[") || command.last != UInt8(ascii: "]") || command.elementsEqual("[pipeline]".utf8)
    }

    /// The stack as if it had been recorded without commands.
    var merged: [UInt8] { joined(process + frames) }

    /// The stack of the command alone.
    func ofCommand(withName: Bool) -> [UInt8] {
        joined(process + (withName ? [command[...]] : []) + (phase.map { [ArraySlice($0.rawValue.utf8)] } ?? []) + frames)
    }

    private func joined(_ frames: ArraySlice<ArraySlice<UInt8>>) -> [UInt8] { Array(frames.joined(separator: [UInt8(ascii: ";")])) }
}

/// What each command has of the merged stacks.
struct CommandWeights {
    struct Part: Hashable {
        var command: [UInt8]
        var phase: CommandPhase?
    }

    /// All commands that stacks name.
    private(set) var names: Set<[UInt8]> = []
    /// Whether some stack names none.
    var isIncomplete = false
    private(set) var parts: [Part] = []
    private var indices: [Part: Int] = [:]
    /// Weight of the stacks that end in a node, by part and node.
    private(set) var own: [[UInt32: UInt64]] = []

    /// Distinct merged stacks.
    var stackCount: Int { Set(own.lazy.flatMap(\.keys)).count }

    mutating func note(_ command: [UInt8]) { names.insert(command) }

    mutating func add(_ weight: UInt64, to node: UInt32, _ part: Part) {
        if indices[part] == nil {
            indices[part] = parts.count
            parts.append(part)
            own.append([:])
        }
        if let index = indices[part] { own[index][node, default: 0] += weight }
    }

    mutating func scale(by factor: UInt64) {
        if factor != 1 { own = own.map { $0.mapValues { $0 &* factor } } }
    }
}

extension FoldedStacks {
    /// The commands that stacks name, in alphabetical order. Empty if they are frames like others.
    public var commandNames: [String] { commands.names.map { displayString($0) }.sorted() }

    /// Whether every stack names a command.
    public var haveCommands: Bool { !commands.names.isEmpty && !commands.isIncomplete }

    /// Stacks as a file of merged stacks has them: a line each.
    var stackCount: Int { haveCommands && commands.stackCount > 0 ? commands.stackCount : acceptedLines }

    /// Whether a picture lets its reader choose a command.
    var areByCommand: Bool {
        guard case .areKeptApart = reading.commands else { return false }
        return haveCommands && !commands.parts.isEmpty && !reading.isReversed && !isDifference
    }

    /// Reads a line whose stack names a command. The caller forgets the stack.
    mutating func readStackOfCommand(_ line: UnsafeRawBufferPointer) {
        guard case .success(let parsed) = FoldedLine.parse(line) else { return readCopy(Array(line)) }
        guard let stack = CommandStack(line[..<parsed.stackLength]) else {
            commands.isIncomplete = true
            return readCopy(Array(line))
        }
        commands.note(stack.command)
        let number = line[parsed.stackLength...]
        if case .areChosen(let chosen) = reading.commands {
            let name = String(decoding: stack.command, as: UTF8.self).uppercased(), chosen = chosen.map { $0.uppercased() }
            let isVerdict = chosen.contains { FoldedReading.isEitherVerdict(of: $0, name) }
            if isVerdict || chosen.contains(name) { readCopy(stack.ofCommand(withName: isVerdict) + number) }
            return
        }
        let accepted = acceptedLines
        readCopy(stack.merged + number)
        guard acceptedLines > accepted, path.count > 0, let weight = scaled(parsed.weight, from: parsed.decimals, to: decimals) else { return }
        commands.add(weight, to: path.frames[path.count - 1].node, CommandWeights.Part(command: stack.command, phase: stack.phase))
    }

    private mutating func readCopy(_ line: [UInt8]) { readChanged(line.withUnsafeBytes { reading.changed($0) } ?? (line, false)) }
}
