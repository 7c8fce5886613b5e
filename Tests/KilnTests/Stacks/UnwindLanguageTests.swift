import Foundation
import Glibc
import Testing

extension KernelTests {
    /// Programs in other languages than C, with their run-time libraries.
    @Suite struct UnwindLanguageTests {
        /// Samples are enough that half a percent of them are several.
        private static func whole(_ program: Program, through chain: [String]) throws {
            usleep(300_000)
            let session = try Session.sampling(pid: program.pid) { try letWork(program.pid, seconds: 3) }
            let samples = session.record.samples.onCPU
            #expect(samples.recorded > 1000)
            #expect(session.wholeShare >= 0.995, "\(samples.ends)")
            #expect(session.stacks.samples(throughAll: chain) > 100)
            let comparison = try SampleComparison(of: program.pid, samples: 3000)
            comparison.report(chain[0])
            #expect(comparison.compared >= 3000)
            #expect(comparison.sameShare >= 0.995)
        }

        @Test(.enabled(if: Program.Language.cc.canCompile, "no C++ compiler"))
        func threadedCPlusPlusWithExceptions() throws {
            try Self.whole(
                Program(
                    """
                    #include <algorithm>
                    #include <map>
                    #include <random>
                    #include <stdexcept>
                    #include <string>
                    #include <thread>
                    #include <vector>
                    struct Shape { virtual ~Shape() = default; virtual double area(int n) const = 0; };
                    struct Square : Shape { double area(int n) const override { return n > 40 ? throw std::runtime_error("large") : n * n; } };
                    __attribute__((noinline)) double total(const std::vector<const Shape *> &shapes, int n) {
                        double sum = 0;
                        for (auto shape : shapes) sum += shape->area(n);
                        return sum;
                    }
                    extern "C" __attribute__((noinline)) double work(std::mt19937 &random) {
                        std::vector<std::string> words;
                        std::map<std::string, int> counts;
                        for (int i = 0; i < 200; i++) words.push_back(std::to_string(random() % 1000));
                        std::sort(words.begin(), words.end(), [](const auto &a, const auto &b) { return b < a; });
                        for (auto &word : words) counts[word]++;
                        Square square;
                        double sum = counts.size();
                        for (int n = 0; n < 50; n++) {
                            try { sum += total({ &square, &square }, n); } catch (const std::runtime_error &error) { sum += error.what()[0]; }
                        }
                        return sum;
                    }
                    volatile double sink;
                    extern "C" __attribute__((noinline)) void worker(unsigned seed) {
                        std::mt19937 random(seed);
                        for (;;) sink = work(random);
                    }
                    int main() {
                        std::thread one(worker, 1), two(worker, 2);
                        worker(3);
                    }
                    """, ["-O2", "-fomit-frame-pointer", "-pthread", "-rdynamic"], in: .cc), through: ["worker", "work"])
        }

        @Test(.enabled(if: Program.Language.swift.canCompile, "no Swift compiler"), arguments: ["-O", "-Onone"])
        func swiftWithTasks(optimisation: String) throws {
            try Self.whole(
                Program(
                    """
                    struct Order: Hashable { var name: String, amount: Int }
                    @inline(never) func work(_ seed: Int) -> Int {
                        var totals: [String: Int] = [:]
                        for index in 0..<500 {
                            let order = Order(name: "customer \\((index &* 7919 &+ seed) % 50)", amount: index)
                            totals[order.name, default: 0] += order.amount
                        }
                        return totals.sorted { $0.value < $1.value }.map(\\.key.count).reduce(0, +)
                    }
                    @main struct Main {
                        static func main() async {
                            await withTaskGroup(of: Int.self) { group in
                                for seed in 0..<3 {
                                    group.addTask {
                                        var sum = 0
                                        while !Task.isCancelled { sum &+= work(seed); await Task.yield() }
                                        return sum
                                    }
                                }
                            }
                        }
                    }
                    """, ["-parse-as-library", optimisation], in: .swift), through: ["_dispatch_worker_thread"])
        }

        /// Goroutines, garbage collection, calls that change to the thread's own stack, and signals that preempt. Go marks the
        /// outermost functions; libdw knows neither them nor where stacks are left.
        @Test(.enabled(if: Program.Language.go.canCompile, "no Go compiler"), arguments: [[], ["-ldflags=-s -w"]])
        func goWithGoroutines(options: [String]) throws {
            let program = try Program(
                """
                package main

                import (
                	"encoding/json"
                	"sort"
                )

                type item struct {
                	Name   string
                	Values []int
                }

                //go:noinline
                func work(n int) int {
                	values := make([]int, n)
                	for i := range values {
                		values[i] = (i * 7919) % 1000
                	}
                	sort.Ints(values)
                	text, _ := json.Marshal(item{"x", values})
                	var back item
                	json.Unmarshal(text, &back)
                	return len(text) + len(back.Values)
                }

                var sink int

                func main() {
                	for i := 0; i < 3; i++ {
                		go func() {
                			for {
                				sink += work(100)
                			}
                		}()
                	}
                	for {
                		sink += work(200)
                	}
                }
                """, options, in: .go)
            usleep(300_000)
            let session = try Session.sampling(pid: program.pid) { try letWork(program.pid, seconds: 3) }
            let samples = session.record.samples.onCPU
            #expect(samples.recorded > 1000)
            #expect(session.wholeShare >= 0.995, "\(samples.ends)")
            // The names of a stripped program are lost; the rows are the same.
            if options.isEmpty {
                #expect(session.stacks.samples(through: "runtime.goexit.abi0", "main.main.func1", "main.work") > samples.recorded / 2)
                #expect(session.stacks.samples(through: "runtime.goexit.abi0", "runtime.main", "main.main", "main.work") > 100)
            }
        }

        /// A callback from C runs on the goroutine's own stack, which goes on where it was left for C.
        @Test(.enabled(if: Program.Language.go.canCompile && Program.canCompile, "no Go or C compiler"))
        func callbacksFromCGoOnToTheGoroutine() throws {
            let program = try Program(
                """
                package main

                /*
                extern void goWork(void);
                static volatile unsigned long sink;
                __attribute__((noinline)) static void cWork(void) { for (int i = 0; i < 1000000; i++) sink = sink * 3 + 1; }
                __attribute__((noinline)) static void cSpin(void) { cWork(); sink++; }
                __attribute__((noinline)) static void callBack(void) { goWork(); sink++; }
                */
                import "C"

                var sink uint64

                //go:noinline
                func spin() {
                	for i := 0; i < 1000000; i++ {
                		sink = sink*3 + 1
                	}
                }

                //export goWork
                func goWork() { spin(); C.cSpin() }

                func main() {
                	for {
                		C.callBack()
                	}
                }
                """, [], in: .go)
            usleep(300_000)
            let session = try Session.sampling(pid: program.pid)
            let samples = session.record.samples.onCPU
            #expect(samples.recorded > 300)
            #expect(session.wholeShare >= 0.98, "\(samples.ends)")
            let outer = ["runtime.goexit.abi0", "runtime.main", "main.main", "runtime.cgocall", "runtime.cgocallback.abi0", "main.goWork"]
            #expect(session.stacks.samples(throughAll: outer + ["main.spin"]) > 100, "\(session.folded)")
            #expect(session.stacks.samples(throughAll: outer + ["cSpin", "cWork"]) > 100, "\(session.folded)")
        }
    }
}
