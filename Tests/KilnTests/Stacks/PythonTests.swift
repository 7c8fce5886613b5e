import Foundation
import Glibc
import KilnBPF
import TestSupport
import Testing

@testable import kiln

/// The interpreters of a test: the system's, and others that KILN_PYTHONS names, with `:` between them.
private let pythons: [String] =
    ["/usr/bin/python3"] + (ProcessInfo.processInfo.environment["KILN_PYTHONS"]?.split(separator: ":").map(String.init) ?? [])

private func version(of python: String) -> String? {
    (try? Child.output(of: [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]))?.trimmingCharacters(in: .whitespacesAndNewlines)
}

private let known = pythons.filter { ["3.11", "3.12", "3.13"].contains(version(of: $0)) }

private let unknown = pythons.filter { version(of: $0) != nil && !known.contains($0) }

/// A program of Python that runs until the value ends.
private final class PythonProgram {
    let directory = temporaryDirectory()
    private let child: Child

    init(_ python: String, _ options: [String] = [], _ source: String) throws {
        try source.write(toFile: directory + "/app.py", atomically: true, encoding: .utf8)
        child = try Child(python, options + [directory + "/app.py", directory + "/ready"])
        guard eventually(within: 20, { access(directory + "/ready", F_OK) == 0 }) else { throw TestFailure("\(python) did not begin") }
    }

    deinit {
        kill(pid, SIGKILL)
        try? FileManager.default.removeItem(atPath: directory)
    }

    var pid: Int32 { child.pid }
}

/// The names of functions in a frame of Python, without file and line.
private func function(_ frame: String) -> String? {
    frame.hasPrefix("py:") ? frame.dropFirst(3).components(separatedBy: " (").first : nil
}

extension Stacks {
    /// Of the samples through `outer`, the share of those through `inner` above it.
    fileprivate func share(of inner: String, in outer: String) -> Double {
        func weight(_ chain: [String]) -> Double {
            Double(
                lines.filter { line in
                    var rest = chain[...]
                    for frame in line.frames where !rest.isEmpty && function(frame) == rest.first { rest.removeFirst() }
                    return rest.isEmpty
                }.reduce(0) { $0 + $1.samples })
        }
        return weight([outer, inner]) / max(weight([outer]), 1)
    }
}

extension KernelTests {
    @Suite(.enabled(if: !known.isEmpty, "needs Python 3.11, 3.12 or 3.13")) struct PythonTests {
        /// Each function takes a known share of main's CPU time.
        private static let shares = """
            import os, sys, threading, time, zlib

            class App:
                def crunch(self, seconds):
                    end = time.thread_time() + seconds
                    while time.thread_time() < end:
                        for i in range(500): pass

            def key(x):
                for i in range(30): pass
                return -x

            def by_key(seconds):
                end = time.thread_time() + seconds
                while time.thread_time() < end: sorted(range(300), key=key)

            def numbers(n):
                for i in range(n): yield i * i % 7

            def generated(seconds):
                end = time.thread_time() + seconds
                while time.thread_time() < end: sum(numbers(2000))

            data = os.urandom(1 << 12) * 4
            def compress(seconds):
                end = time.thread_time() + seconds
                while time.thread_time() < end: zlib.compress(data, 9)

            def recurse(n, seconds):
                if n: return recurse(n - 1, seconds)
                App().crunch(seconds)

            def thread():
                while True:
                    App().crunch(0.002)
                    time.sleep(0.005)

            def child():
                while os.getppid() != 1: App().crunch(0.01); time.sleep(0.02)

            def main():
                while True:
                    App().crunch(0.04); by_key(0.03); generated(0.02); compress(0.01); recurse(30, 0.02)

            if os.fork() == 0: child(); os._exit(0)
            threading.Thread(target=thread, daemon=True).start()
            open(sys.argv[1], "w").close()
            main()
            """

        @Test(arguments: known) func functionsHaveTheirSharesOfCPUTime(_ python: String) throws {
            let program = try PythonProgram(python, [], Self.shares)
            let session = try Session.sampling(pid: program.pid) { try letWork(program.pid, seconds: 2.5) }
            let samples = session.record.samples.onCPU
            #expect(samples.recorded > 800)
            #expect(session.wholeShare >= 0.98)
            let stacks = session.stacks
            for (function, share) in [("App.crunch", 0.5), ("by_key", 0.25), ("generated", 1.0 / 6), ("compress", 1.0 / 12), ("recurse", 1.0 / 6)] {
                #expect(abs(stacks.share(of: function, in: "main") - share) < 0.05, "\(function)")
            }
            // C code between Python's functions, and beneath them.
            #expect(stacks.share(of: "key", in: "by_key") > 0.5)
            var between: UInt64 = 0, misplaced: UInt64 = 0
            for line in stacks.lines {
                guard let caller = line.frames.firstIndex(where: { function($0) == "by_key" }),
                    let callee = line.frames.firstIndex(where: { function($0) == "key" })
                else { continue }
                let isRight = caller + 1 < callee && line.frames[(caller + 1)..<callee].allSatisfy { function($0) == nil }
                if isRight { between += line.samples } else { misplaced += line.samples }
                // Where it is not known where Python's frames belong, the stack says so.
                #expect(isRight || line.frames.contains { $0.hasPrefix("[") }, "\(line)")
            }
            #expect(misplaced * 100 <= between, "\(misplaced) beside \(between)")
            let compressing = stacks.lines.filter { $0.frames.contains { function($0) == "compress" } }
            #expect(
                compressing.filter { function($0.frames.last ?? "") == nil }.reduce(0) { $0 + $1.samples } > compressing.reduce(0) { $0 + $1.samples } * 8 / 10)
            #expect(stacks.share(of: "numbers", in: "generated") > 0.5)
            for line in stacks.lines where line.frames.contains(where: { function($0) == "recurse" }) {
                let depth = line.frames.filter { function($0) == "recurse" }.count
                #expect(depth <= 31)
            }
            #expect(stacks.lines.contains { $0.frames.filter { function($0) == "recurse" }.count == 31 })
            #expect(session.folded.contains("py:App.crunch (app.py:4)"))
            #expect(stacks.lines.contains { $0.frames.contains { function($0) == "thread" } })
            let interpreted = stacks.lines.filter { $0.frames.contains { $0.hasPrefix("_PyEval_EvalFrameDefault") } }.reduce(0) { $0 + $1.samples }
            #expect(interpreted <= samples.recorded / 50)
            #expect(!session.folded.contains(PythonFrames.placeMark))
        }

        /// Functions come and go, and the next one has the addresses of the last.
        @Test func aFreedFunctionHasNoOthersName() throws {
            let program = try PythonProgram(
                known[0], [],
                """
                import sys, time
                open(sys.argv[1], "w").close()

                def made(number):
                    space = {"time": time}
                    exec(f"def made_{number}(seconds):\\n end = time.thread_time() + seconds\\n while time.thread_time() < end: pass\\n", space)
                    return space[f"made_{number}"]

                def lasts():
                    end = time.thread_time() + 0.05
                    while time.thread_time() < end: pass

                while True:
                    for number in range(10):
                        made(number)(0.005)
                    lasts()
                """)
            let session = try Session.sampling(pid: program.pid)
            let functions = Set(session.stacks.lines.compactMap { $0.frames.last { $0.hasPrefix("py:") } })
            #expect(functions.allSatisfy { text in ["made", "lasts", "<module>", "py:[unknown]"].contains { text.contains($0) } })
            let samples = Double(session.record.samples.onCPU.recorded)
            let lasting = session.stacks.lines.filter { $0.frames.contains { function($0) == "lasts" } }.reduce(0) { $0 + $1.samples }
            #expect(abs(Double(lasting) / samples - 0.5) < 0.06)
            // Each has a tenth of the rest, and those that were not read in time have no name.
            var named: UInt64 = 0
            for number in 0..<10 {
                let one = session.stacks.lines.filter { $0.frames.contains { function($0) == "made_\(number)" } }.reduce(0) { $0 + $1.samples }
                #expect(Double(one) / samples < 0.08)
                named += one
            }
            #expect(named > 0)
        }

        @Test(.enabled(if: !unknown.isEmpty, "other versions of Python: NOT TO BE HAD without KILN_PYTHONS"), arguments: unknown)
        func anUnknownVersionIsTold(_ python: String) throws {
            let program = try PythonProgram(python, [], "import sys\nopen(sys.argv[1], 'w').close()\nwhile True: pass")
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let kiln = try KilnRun(["-p", "\(program.pid)", "--duration", "1", "-o", directory + "/session"], subcommand: "record")
            #expect(kiln.wait() == 0)
            #expect(kiln.errorText.contains("kiln: pid \(program.pid) (Python \(version(of: python) ?? "")): kiln reads the frames of CPython 3.11 to 3.13; "))
        }

        @Test func waitsAndForkedProcessesHaveFramesOfPython() throws {
            let program = try PythonProgram(
                known[0], [],
                """
                import os, sys, time
                open(sys.argv[1], "w").close()

                def waits(): time.sleep(0.01)

                def child():
                    end = time.thread_time() + 0.1
                    while time.thread_time() < end: pass

                while True:
                    for _ in range(30): waits()
                    pid = os.fork()
                    if pid == 0:
                        child()
                        os._exit(0)
                    os.waitpid(pid, 0)
                """)
            let directory = temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let kiln = try KilnRun(
                ["-p", "\(program.pid)", "--children", "-F", "499", "--off-cpu", "--duration", "2.5", "-o", directory + "/session"], subcommand: "record")
            #expect(kiln.wait() == 0)
            let session = try Session(directory: directory + "/session", output: kiln.outputText)
            let off = try Stacks(String(contentsOfFile: directory + "/session/stacks.off-cpu.folded", encoding: .utf8))
            let waiting = off.lines.filter { $0.frames.contains { function($0) == "waits" } }.reduce(0) { $0 + $1.samples }
            #expect(waiting > 400_000_000)
            let child = session.stacks.lines.filter { $0.frames.contains { function($0) == "child" } }.reduce(0) { $0 + $1.samples }
            #expect(child > 100)
        }
    }
}

/// Where Python's frames are put. `C`: the interpreter's function.
struct PythonFramesTests {
    private static let entry = KILN_PYTHON_ENTRY

    /// Words to places: numbers stand for functions.
    private func placed(_ words: [UInt64], _ native: [String], isWhole: Bool = true) -> [String] {
        let frames = native.map { FoldedFrame($0 == "C" ? "_PyEval_EvalFrameDefault" : $0) }
        return PythonFrames(words) { "f\($0 & ~Self.entry)" }.placed(in: frames, isWhole: isWhole).map(\.text)
    }

    @Test func eachCallOfTheInterpreterHasItsFrames() {
        let entry = Self.entry
        // Marked frames (3.11), and frames of C above which they end (3.12).
        #expect(placed([1, 2 | entry, 3 | entry], ["leaf", "C", "sort", "C", "main"]) == ["leaf", "f1", "f2", "sort", "f3", "main"])
        #expect(placed([1, 2, entry, 3, entry], ["leaf", "C", "sort", "C", "main"]) == ["leaf", "f1", "f2", "sort", "f3", "main"])
        // The innermost call has begun, and has no frame yet; or only the frame of C.
        #expect(placed([2, 3 | entry], ["C", "sort", "C", "main"]) == ["_PyEval_EvalFrameDefault", "sort", "f2", "f3", "main"])
        #expect(placed([entry, 3, entry], ["C", "sort", "C", "main"]) == ["_PyEval_EvalFrameDefault", "sort", "f3", "main"])
        // What was inlined stays, and the trampolines of -X perf go.
        #expect(placed([1 | entry], ["_PyEval_EvalFrameDefault;_[i]", "py::f:/a.py_[j]", "main"]) == ["_[i]", "f1", "main"])
    }

    @Test func whatIsMissingIsMarked() {
        let entry = Self.entry, cut = UInt64(KILN_PYTHON_CUT)
        // The machine's stack ends early: the innermost call is the same.
        #expect(placed([1 | entry, 2, 3 | entry], ["C", "x"], isWhole: false) == ["f1", "x", "f2", "f3"])
        #expect(
            placed([1 | entry, 2, cut], ["C", "x", "C", "y", "C", "main"]) == ["f1", "x", "f2", PythonFrames.cutMark, "y", "_PyEval_EvalFrameDefault", "main"])
        #expect(placed([cut], ["C", "main"]) == ["_PyEval_EvalFrameDefault", "main", PythonFrames.cutMark])
        // A call that is not recognized.
        #expect(placed([1 | entry, 2 | entry], ["python+0x1", "x", "C", "main"]) == ["python+0x1", "x", "f1", PythonFrames.placeMark, "f2", "main"])
        #expect(placed([1 | entry], ["x", "main"]) == ["x", "main", PythonFrames.placeMark, "f1"])
    }
}
