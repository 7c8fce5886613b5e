import Flamegraph
import Glibc
import KilnSymbols
import SystemPackage

/// Asks addr2line (LLVM or GNU binutils) for the functions inlined at an address. One child process for each module stays running.
///
/// Debug information has addresses as linked. perf prints an instruction's offset in the file, or, in older versions, its address in the
/// process. So an answer counts only if it names the function that perf named.
final class AddressLines: InlineResolver {
    private struct Module {
        var lines: Addr2line
        var addresses: LinkedAddresses?
    }

    private let showsContext: Bool
    private var modules: [String: Module?] = [:]
    private var hasReportedFailure = false

    init(showsContext: Bool) {
        self.showsContext = showsContext
        signal(SIGPIPE, SIG_IGN)  // writing to an addr2line that has ended must not end kiln
    }

    func functions(at place: CodePlace) -> [SourceFunction] {
        let module = modules[place.module] ?? open(place.module)
        modules[place.module] = .some(module)
        guard let module else { return [] }
        var questions = [module.addresses?.address(ofFileOffset: place.address), place.address].compactMap { address in
            address.map { "0x" + String($0, radix: 16) }
        }
        if let offset = place.offset { questions.append("\(place.symbol)+0x\(String(offset, radix: 16))") }
        for question in questions {
            let found = module.lines.frames(of: question)
            guard let outermost = found.last, identifier(outermost.function) == identifier(place.symbol) else { continue }
            // The outermost name is perf's, as in stacks without inlining.
            let names = [place.symbol] + found.dropLast().reversed().map(\.function)
            return zip(names, found.reversed()).map { SourceFunction(name: $0, line: showsContext ? $1.place : "") }
        }
        return []
    }

    private func open(_ path: String) -> Module? {
        let lines = Addr2line(module: path) { failure in
            if !hasReportedFailure { say("kiln: \(failure)") }
            hasReportedFailure = true
        }
        return lines.map { Module(lines: $0, addresses: try? LinkedAddresses(of: FilePath(path))) }
    }
}

/// The last component of a function's name, which its symbol and its debug information have in common. Leaves out namespaces, arguments of
/// functions and templates, versions (`@@GLIBC_2.34`) and suffixes of copies (`.isra.0`).
func identifier(_ function: String) -> String {
    var depth = 0
    var plain: [Character] = []
    for character in function {
        if "(<[".contains(character) { depth += 1 }
        if depth == 0 { plain.append(character) }
        if ")>]".contains(character) { depth = max(0, depth - 1) }
    }
    let name = plain.prefix { $0 != "." && $0 != "@" }
    func isPart(_ character: Character) -> Bool { character.isLetter || character.isNumber || "_$~".contains(character) }
    return String(name.reversed().drop { !isPart($0) }.prefix(while: isPart).reversed())
}

/// A running addr2line that answers one address at a time.
private final class Addr2line {
    private let pid: pid_t
    private let questions: UnsafeMutablePointer<FILE>
    private let answers: UnsafeMutablePointer<FILE>

    /// Nil if this host has no such module, or no addr2line.
    init?(module: String, reportFailure: (String) -> Void) {
        guard access(module, R_OK) == 0 else { return nil }
        var (toChild, fromChild): ([Int32], [Int32]) = ([-1, -1], [-1, -1])
        guard pipe(&toChild) == 0, pipe(&fromChild) == 0 else { return nil }
        for end in toChild + fromChild { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, toChild[0], 0)
        posix_spawn_file_actions_adddup2(&actions, fromChild[1], 1)
        posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0)
        var child: pid_t = 0
        var status: Int32 = 0
        // LLVM's first: GNU's gives inlined functions without a linkage name the name of the surrounding function.
        for program in ["llvm-addr2line", "addr2line"] {
            let command = [program, "-a", "-i", "-f", "-s", "-C", "-e", module]
            var words: [UnsafeMutablePointer<CChar>?] = command.map { strdup($0) } + [nil]
            defer { for word in words { free(word) } }
            status = posix_spawnp(&child, program, &actions, nil, &words, environ)
            if status == 0 { break }
        }
        close(toChild[0])
        close(fromChild[1])
        guard status == 0, let questions = fdopen(toChild[1], "w"), let answers = fdopen(fromChild[0], "r") else {
            for end in [toChild[1], fromChild[0]] { close(end) }
            reportFailure("cannot start addr2line: \(errorText(status)). Install binutils, or leave out --inline.")
            return nil
        }
        pid = child
        self.questions = questions
        self.answers = answers
    }

    deinit {
        fclose(questions)
        fclose(answers)
        var status: Int32 = 0
        waitpid(pid, &status, 0)
    }

    /// The functions at an address, innermost first, each with `file:line` if that is known.
    func frames(of place: String) -> [(function: String, place: String)] {
        // addr2line doesn't mark the end of an answer, so an address without code is asked next as a mark.
        let mark: UInt64 = 0xffff_ffff_ffff_fff1
        fputs("\(place)\n0x\(String(mark, radix: 16))\n", questions)
        guard fflush(questions) == 0 else { return [] }
        var lines: [String] = []
        while let line = readLine() {
            if line.hasPrefix("0x"), UInt64(line.dropFirst(2), radix: 16) == mark {
                _ = readLine()
                _ = readLine()
                break
            }
            lines.append(line)
        }
        // The first line repeats the address.
        return stride(from: 1, to: lines.count - 1, by: 2).map { index in
            let place = lines[index + 1].split(separator: " ").first ?? ""
            return (lines[index], place.hasPrefix("??") ? "" : String(place))
        }
    }

    private func readLine() -> String? {
        var text: UnsafeMutablePointer<CChar>?
        var capacity = 0
        defer { free(text) }
        let length = getline(&text, &capacity, answers)
        guard length > 0, let text else { return nil }
        let line = String(cString: text)
        return line.hasSuffix("\n") ? String(line.dropLast()) : line
    }
}
