import Foundation
import TestSupport

/// A repeatable source of random numbers (SplitMix64).
struct Random {
    var state: UInt64

    mutating func next(_ bound: Int) -> Int {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return Int(truncatingIfNeeded: (mixed ^ (mixed >> 31)) >> 1) % bound
    }
}

/// Call stacks of a program that does not exist: each function calls a few others, some far more often than others.
struct Program {
    static let depth = 30
    private static let functions = 6_000
    private var random = Random(state: 1)

    /// Names as they are in server code, 4 to 19 letters.
    static let names: [String] = {
        let words = ["read", "write", "net", "buf", "lock", "hash", "alloc", "io", "str", "tree", "poll", "cmd", "key", "log"]
        var random = Random(state: 2)
        return (0..<functions).map { index in
            let count = 1 + random.next(2)
            return (0..<count).map { _ in words[random.next(words.count)] }.joined(separator: "_") + "_\(index)"
        }
    }()

    /// A stack, root first, as indices of names.
    mutating func stack() -> [Int] {
        var function = 0
        var stack: [Int] = []
        for depth in 0..<Self.depth {
            stack.append(function)
            // One of four callees, the first half of the time; a callee is a fixed function of its caller and depth.
            let choice = random.next(2) == 0 ? 0 : random.next(4)
            var caller = Random(state: UInt64(function * 131 + choice * 31 + depth))
            function = 1 + caller.next(Self.functions - 1)
        }
        return stack
    }
}

func inputs(in directory: URL) -> (shuffled: URL, sorted: URL, perf: URL) {
    let files = ["shuffled.folded", "sorted.folded", "samples.perf"].map { directory.appendingPathComponent($0) }
    return (files[0], files[1], files[2])
}

func writeInputs(into directory: URL) throws {
    let files = inputs(in: directory)
    try writeFoldedStacks(to: files.shuffled, sorted: false)
    try writeFoldedStacks(to: files.sorted, sorted: true)
    try writePerfScript(to: files.perf)
}

/// 200,000 distinct stacks of depth 30, about 70 MB.
func writeFoldedStacks(to file: URL, sorted: Bool) throws {
    var program = Program()
    var random = Random(state: 3)
    var seen: Set<[Int]> = []
    while seen.count < 200_000 { seen.insert(program.stack()) }
    // A set's order changes from run to run; the file must not.
    var lines = seen.map { $0.map { Program.names[$0] }.joined(separator: ";") }.sorted()
    if !sorted { for index in lines.indices { lines.swapAt(index, random.next(lines.count)) } }
    var text = Data()
    for line in lines { text.append(Data("\(line) \(1 + random.next(500))\n".utf8)) }
    try text.write(to: file)
}

/// A picture of 50,000 boxes at a width of 1200, each wider than a pixel: nothing can be left out or merged.
func writeManyBoxes(to file: URL) throws {
    let towers = (0..<1_000).map { tower in "main;" + (0..<50).map { "f\(tower)_\($0)" }.joined(separator: ";") + " 1\n" }
    try Data(towers.joined().utf8).write(to: file)
}

/// 60,000 samples of depth 30 as `perf script` prints them, about 138 MB.
func writePerfScript(to file: URL) throws {
    var program = Program()
    var random = Random(state: 4)
    let modules = ["[kernel.kallsyms]", "/usr/lib/x86_64-linux-gnu/libc.so.6", "/usr/bin/some-server", "/usr/lib/libcrypto.so.3"]
    guard FileManager.default.createFile(atPath: file.path, contents: nil) else { throw CocoaError(.fileWriteUnknown) }
    let handle = try FileHandle(forWritingTo: file)
    var text = Data()
    for sample in 0..<60_000 {
        let thread = 4000 + random.next(16)
        text.append(
            Data("server-\(thread % 7)  4000/\(thread) [00\(random.next(8))] \(1000 + sample / 1000).\(100_000 + sample):   10101010 cpu-clock:ppp: \n".utf8))
        for (level, function) in program.stack().enumerated().reversed() {
            let name = Program.names[function]
            let module = modules[level > 22 ? 0 : function % 4]
            let address = String(0x7f00_0000_0000 + function * 4096 + random.next(400), radix: 16)
            text.append(Data("\t    \(address) \(name)(unsigned long)+0x\(String(random.next(60), radix: 16)) (\(module))\n".utf8))
        }
        text.append(10)
        if text.count > 1 << 22 {
            try handle.write(contentsOf: text)
            text.removeAll(keepingCapacity: true)
        }
    }
    try handle.write(contentsOf: text)
    try handle.close()
}

/// What the figures of the report are of.
let hour: GeneratedSession = {
    var session = GeneratedSession()
    (session.seconds, session.commands, session.stacks) = (3_600, 20, 50_000)
    return session
}()
