import Foundation
import Glibc
import KilnSymbols
import SystemPackage
import TestSupport

/// How long naming takes with inlined functions: kiln, and addr2line of LLVM and of binutils, for the same addresses.
enum InlinedNaming {
    static func measure(_ arguments: [String], rounds: Int) throws {
        guard let path = arguments.first else { throw TestFailure("give a file with debugging information") }
        let given = arguments.count > 1 ? arguments[1] : "2000", count = Int(given) ?? 0
        let file = try FileHandle(forReadingFrom: URL(fileURLWithPath: path)), size = Int(try file.seekToEnd())
        // As a process has its program.
        guard let memory = mmap(nil, size, PROT_READ | PROT_EXEC, MAP_PRIVATE, file.fileDescriptor, 0), memory != MAP_FAILED else {
            throw TestFailure("cannot map \(path)")
        }
        let base = UInt64(UInt(bitPattern: memory)), linked = try LinkedAddresses(of: FilePath(path)), plain = try Symbolizer(pid: getpid())
        var random = SeededGenerator(seed: 24), addresses: [UInt64] = []
        if count == 0 { addresses = try String(contentsOfFile: given, encoding: .utf8).split(separator: "\n").compactMap { UInt64($0, radix: 16) } }
        while addresses.count < count {
            let offset = UInt64.random(in: 0..<UInt64(size), using: &random)
            if case .function = plain.symbolize(.instructionPointer(base + offset)) { addresses.append(offset) }
        }
        for (name, wanted) in [
            ("all over the file", addresses), ("a tenth of them, ten times", (0..<10).flatMap { _ in addresses.prefix(addresses.count / 10) }),
        ] {
            var times: [Double] = [], frames = 0
            for _ in 0..<rounds {
                let began = Date()
                let symbolizer = try Symbolizer(pid: getpid(), sharing: SymbolStore(readsSource: true))
                frames = wanted.reduce(0) { $0 + symbolizer.frames(.instructionPointer(base + $1)).count }
                times.append(Date().timeIntervalSince(began))
            }
            print("\(name): \(wanted.count) addresses, \(frames) frames: kiln \(times.map { String(format: "%.3f", $0) }.joined(separator: " ")) s")
            if let names = ProcessInfo.processInfo.environment["KILN_BENCH_NAMES"] {
                let symbolizer = try Symbolizer(pid: getpid(), sharing: SymbolStore(readsSource: true))
                let lines = wanted.map { offset in
                    let frames = symbolizer.frames(.instructionPointer(base + offset)).map { $0.symbol.foldedFrame(in: .user, demangling: false) }
                    return (linked.address(ofFileOffset: offset).map { String($0, radix: 16) } ?? "") + " " + frames.joined(separator: ";")
                }
                try (lines.joined(separator: "\n") + "\n").write(toFile: names, atomically: true, encoding: .utf8)
            }
            let questions = wanted.compactMap { linked.address(ofFileOffset: $0) }.map { "0x" + String($0, radix: 16) }
            let list = temporaryDirectory() + "/addresses"
            try (questions.joined(separator: "\n") + "\n").write(toFile: list, atomically: true, encoding: .utf8)
            for tool in ["llvm-symbolizer --inlines --no-demangle --obj=\(path)", "llvm-addr2line -i -f -e \(path)", "addr2line -i -f -e \(path)"] {
                let began = Date()
                let status = try Child("sh", ["-c", "exec timeout 300 \(tool) < \(list) > \(list).out"]).wait()
                let text = try String(contentsOfFile: list + ".out", encoding: .utf8)
                print(
                    "  \(tool.split(separator: " ")[0]): \(String(format: "%.3f", Date().timeIntervalSince(began))) s, status \(status), \(text.split(separator: "\n").count) lines"
                )
            }
        }
    }
}
