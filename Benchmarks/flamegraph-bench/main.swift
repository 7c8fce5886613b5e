// Measures how fast kiln draws and collapses big profiles, makes a session's page, and with how much memory; and how fast the page is.
//
//     flamegraph-bench PATH-OF-KILN
//     flamegraph-bench generate DIRECTORY      only makes the inputs, and leaves them
//     flamegraph-bench generate-session DIRECTORY      only makes the session of an hour
//
// Inputs are made in a temporary directory and are the same on every machine. Each measurement is a run of kiln of its
// own; the fastest of five counts, because everything else on the machine can only slow it down.
import Foundation
import TestSupport

if CommandLine.arguments.count == 3, CommandLine.arguments[1] == "generate" {
    try writeInputs(into: URL(fileURLWithPath: CommandLine.arguments[2]))
    exit(0)
}
if CommandLine.arguments.count == 3, CommandLine.arguments[1] == "generate-session" {
    try hour.write(to: URL(fileURLWithPath: CommandLine.arguments[2]))
    exit(0)
}
guard CommandLine.arguments.count == 2 else {
    FileHandle.standardError.write(Data("usage: flamegraph-bench PATH-OF-KILN\n".utf8))
    exit(2)
}
let kiln = CommandLine.arguments[1]
let directory = FileManager.default.temporaryDirectory.appendingPathComponent("flamegraph-bench-\(getpid())")

/// One run: wall time in seconds, and the most memory it had, in bytes.
func run(_ program: String, _ arguments: [String]) throws -> (seconds: Double, peak: Int) {
    var words: [UnsafeMutablePointer<CChar>?] = ([program] + arguments).map { strdup($0) } + [nil]
    defer { for word in words { free(word) } }
    var child: pid_t = 0
    let start = DispatchTime.now().uptimeNanoseconds
    guard posix_spawn(&child, program, nil, nil, &words, environ) == 0 else { throw POSIXError(.ENOENT) }
    var usage = rusage()
    var status: Int32 = 0
    guard wait4(child, &status, 0, &usage) == child, status == 0 else { throw POSIXError(.ECHILD) }
    return (Double(DispatchTime.now().uptimeNanoseconds - start) / 1e9, usage.ru_maxrss * 1024)
}

func measure(_ what: String, _ file: URL, _ arguments: [String]) throws {
    let size = try FileManager.default.attributesOfItem(atPath: file.path)[.size] as? Int ?? 0
    let runs = try (0..<5).map { _ in try run(kiln, arguments) }
    let seconds = runs.map(\.seconds).min() ?? 0
    let peak = runs.map(\.peak).max() ?? 0
    print(
        String(
            format: "%@  %6.1f MB  %6.3f s  %5.0f MB/s  peak %4.0f MB",
            what.padding(toLength: 40, withPad: " ", startingAt: 0) as NSString, Double(size) / 1e6, seconds,
            Double(size) / 1e6 / seconds, Double(peak) / 1e6))
}

/// From a key that zooms to the frame that shows it, as the browser tells (Event Timing), in a picture of 50,000 boxes.
func measureZoom() throws {
    let title = "zoom in Chromium, 50,000 boxes".padding(toLength: 40, withPad: " ", startingAt: 0)
    guard Browser.executable != nil else { return print("\(title)  not measured: chromium is not installed") }
    let (stacks, picture) = (directory.appendingPathComponent("boxes.folded"), directory.appendingPathComponent("boxes.svg"))
    try writeManyBoxes(to: stacks)
    _ = try run(kiln, ["flamegraph", "--minwidth", "0", stacks.path, "-o", picture.path])
    let browser = try Browser()
    var times: [Double] = []
    for _ in 0..<3 {
        try browser.open(picture.absoluteString)
        try browser.wait(for: "document.querySelector('.controls') !== null")
        _ = try browser.value(
            """
            (window.zooms = [], new PerformanceObserver((list) => zooms.push(...list.getEntries()
              .filter((entry) => entry.name === 'keydown').map((entry) => entry.duration)))
              .observe({ type: 'event', durationThreshold: 16 }))
            """)
        usleep(500_000)
        for _ in 0..<2 {
            for key in ["Home", "ArrowUp", "Enter", "ArrowUp", "Enter", "Escape"] {
                try browser.press(key)
                usleep(250_000)
            }
        }
        times += try browser.value("zooms.join(' ')").split(separator: " ").compactMap { Double($0) }
    }
    times.sort()
    guard let most = times.last else { return print("\(title)  every time below 16 ms") }
    print("\(title)  at most \(Int(most)) ms, median of those above 16 ms \(Int(times[times.count / 2])) ms")
}

/// The page of an hour: its size, what it takes to make it, and in the browser the time until the heatmaps are painted, and from a selection to its flamegraph.
func measureReport() throws {
    let session = directory.appendingPathComponent("session"), page = directory.appendingPathComponent("report.html")
    _ = try run("/proc/self/exe", ["generate-session", session.path])
    func size(_ file: URL) throws -> Double { Double(try FileManager.default.attributesOfItem(atPath: file.path)[.size] as? Int ?? 0) / 1e6 }
    let made = try run(kiln, ["report", session.path, "--html", "-o", page.path])
    let read = try size(session.appendingPathComponent("commands.jsonl")) + size(session.appendingPathComponent("samples.jsonl"))
    print(
        String(
            format: "report, an hour of 20 commands and 50,000 stacks: %.1f MB of rows and stacks to a page of %.2f MB in %.1f s, peak %.0f MB", read,
            try size(page), made.seconds,
            Double(made.peak) / 1e6))
    guard Browser.executable != nil else { return print("report in Chromium: not measured: chromium is not installed") }
    let browser = try Browser(width: 1400, height: 1000)
    var paints: [Double] = [], stacks: [Double] = [], selections: [Double] = []
    for _ in 0..<3 {
        try browser.open(page.absoluteString)
        try browser.wait(for: "window.kilnReport !== undefined && kilnReport.isReady")
        let marks = try browser.value("['kiln-heatmaps', 'kiln-stacks'].map((name) => performance.getEntriesByName(name)[0].startTime).join(' ')").split(
            separator: " ")
        paints += marks.first.flatMap { Double($0) }.map { [$0] } ?? []
        stacks += marks.last.flatMap { Double($0) }.map { [$0] } ?? []
        let place = try browser.value(
            "(() => { const box = document.querySelector('.report-map').getBoundingClientRect(); return [box.x, box.y, box.width, box.height].join(' '); })()"
        )
        .split(separator: " ").compactMap { Double($0) }
        guard place.count == 4 else { continue }
        for step in 0..<4 {
            let from = (x: place[0] + place[2] * (0.1 + 0.2 * Double(step)), y: place[1] + 2),
                to = (x: place[0] + place[2] * (0.25 + 0.2 * Double(step)), y: place[1] + place[3] - 2)
            try browser.drag(from: from, to: to)
            try browser.wait(for: "performance.getEntriesByName('kiln-flamegraph').length === \(step + 1)")
        }
        selections += try browser.value("performance.getEntriesByName('kiln-flamegraph').map((entry) => entry.duration).join(' ')").split(separator: " ")
            .compactMap { Double($0) }
    }
    func median(_ times: [Double]) -> Double { times.isEmpty ? .nan : times.sorted()[times.count / 2] }
    print(
        String(
            format:
                "report in Chromium: heatmaps painted after %.0f ms, stacks after %.0f ms; a selection's flamegraph within %.0f ms (median of 12), at most %.0f ms",
            median(paints),
            median(stacks), median(selections), selections.max() ?? .nan))
}

do {
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: directory) }
    // In a process of its own: a child's peak memory is at least its parent's.
    _ = try run("/proc/self/exe", ["generate", directory.path])
    let (shuffled, sorted, perf) = inputs(in: directory)
    let output = directory.appendingPathComponent("out").path
    print("fastest of five runs, most memory of the five")
    try measure("flamegraph, 200,000 stacks, any order", shuffled, ["flamegraph", shuffled.path, "-o", output])
    try measure("flamegraph, 200,000 stacks, sorted", sorted, ["flamegraph", sorted.path, "-o", output])
    try measure("collapse perf, 60,000 samples", perf, ["collapse", "perf", perf.path, "-o", output])
    try measureZoom()
    try measureReport()
} catch {
    FileHandle.standardError.write(Data("flamegraph-bench: cannot measure \(kiln): \(error). Build it with `make`.\n".utf8))
    exit(1)
}
