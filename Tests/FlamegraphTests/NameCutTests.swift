import Testing
@testable import Flamegraph

@Suite struct NameCutTests {
    private func fit(_ name: String, _ columns: Int, _ cut: NameCut = .auto) -> String {
        Array(name.utf8).withUnsafeBytes { name in
            var text = String.UnicodeScalarView()
            text.append(contentsOf: cut.fit(name, columns: columns))
            return String(text)
        }
    }

    private func function(_ name: String) -> String? {
        let units = Array(name.utf16)
        return Array(name.utf8).withUnsafeBytes { NameCut.functionName(in: $0) }.map { String(decoding: units[$0], as: UTF16.self) }
    }

    @Test func whatFitsIsWhole() {
        for cut in NameCut.allCases { #expect(fit("readQueryFromClient", 19, cut) == "readQueryFromClient") }
    }

    @Test func aPlainNameKeepsItsBeginning() {
        #expect(fit("readQueryFromClient", 10) == "readQuery…")
        #expect(fit("関数関数", 5) == "関数…")
        #expect(fit("", 5) == "")
    }

    @Test func aSideCanBeChosen() {
        #expect(fit("a::readQuery", 8, .left) == "…adQuery")
        #expect(fit("a::readQuery", 8, .right) == "a::read…")
        #expect(fit("関数関数", 5, .left) == "…関数")
    }

    @Test func templatesAndPathsAreCutAtTheLeft() {
        #expect(fit("std::vector<int>::push_back(int const&)", 30) == "std::vector<int>::push_back…")
        #expect(fit("std::vector<int>::push_back(int const&)", 20) == "…or<int>::push_back…")
        #expect(fit("std::vector<int>::push_back(int const&)", 8) == "push_ba…")
        #expect(fit("/usr/lib/long/path/file.js:func", 14) == "…/file.js:func")
        #expect(fit("/usr/lib/long/path/file.js:func", 4) == "fun…")
    }

    @Test(arguments: [
        ("std::vector<std::pair<int, int>, A >::push_back(std::pair<int, int> const&)", "push_back"),
        ("void std::sort<int*, bool (*)(int, int)>(int*, int*)", "sort<int*, bool (*)(int, int)>"),
        ("std::vector<int> ns::make<int>(unsigned long)", "make<int>"), ("a::(anonymous namespace)::run(int)", "run"),
        ("Big::operator()(int) const", "operator()"), ("Big::operator<=(Big const&)", "operator<="), ("Big::operator[](int)", "operator[]"),
        ("ns::operator new(unsigned long)", "operator new"), ("Big::operator->()", "operator->"),
        ("<alloc::vec::Vec<T,A> as core::iter::Extend<T>>::extend", "extend"),
        ("core::ops::function::FnOnce::call_once{{vtable.shim}}", "call_once{{vtable.shim}}"),
        ("github.com/prometheus/client/prometheus.(*Registry).Gather", "Gather"),
        ("org/apache/catalina/Filter.doFilter", "Filter.doFilter"), ("org.apache.catalina.Filter.doFilter", "doFilter"),
        ("/usr/lib/node_modules/express/index.js:handle", "handle"), ("/app/server.js:12", "server.js:12"), ("Builtin:ArrayMap", "ArrayMap"),
        ("é𝒳::f", "f"),
    ])
    func theFunctionsOwnNameIsFound(name: String, function: String) {
        #expect(self.function(name) == function)
    }

    @Test(arguments: [
        "main", "libc.so.6", "sort.part.0", "[libc.so.6]", "f (/usr/lib/python3/x.py:12)", "closure #1 in Foo.bar()", "main thread 12",
        "LazyCompile:~run /app/x.js:12", "block in Foo::Bar", "operator new(unsigned long)", "a/", "::", "(anonymous namespace)", "", "<", ":", "operator",
        "operator(",
    ])
    func aNameWithNothingBeforeItIsLeftAlone(name: String) {
        #expect(function(name) == nil)
    }

    @Test(arguments: 1...20 as ClosedRange<UInt64>)
    func whateverTheNameItFits(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        let parts = ["operator", "::", "<", ">", "(", ")", "/", ":", ".", " ", "a", "関", "𝒳", "-", "[", "\u{202e}"]
        for _ in 0..<200 {
            let name = (0..<Int.random(in: 0...12, using: &generator)).map { _ in parts.randomElement(using: &generator) ?? "" }.joined()
            for cut in NameCut.allCases {
                let columns = Int.random(in: 3...12, using: &generator)
                let width = fit(name, columns, cut).unicodeScalars.reduce(0) { $0 + ($1.value < 0x1100 ? 1 : 2) }
                // An ellipsis takes a column of its own, and is counted as one of two here.
                let ellipses = fit(name, columns, cut).filter { $0 == "…" }.count
                #expect(width - ellipses <= columns, "\(name)")
            }
        }
    }
}
