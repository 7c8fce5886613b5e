import Glibc
import KilnKernel
import KilnModel
import KilnSymbols
import KilnTargets
import SystemPackage

/// Finds the events that names on the command line mean.
struct EventNames {
    /// A stack at each one of so many.
    let every: UInt64
    /// `-F`, for counters of the hardware.
    let frequency: Int?
    /// Targets whose files a path may mean.
    let pids: [Int32]

    /// Throws a `Failure` for an event that doesn't exist.
    func events(_ names: [String]) throws -> [Event] {
        var events: [Event] = []
        let tracepoints = try Lazy { try HostEvents.tracepoints() }
        for name in names {
            let (full, place) = try found(name, tracepoints)
            let hardware: Bool = if case .hardware = place { true } else { false }
            let file = fileName(full, besides: events.map(\.recorded.fileName))
            guard !events.contains(where: { $0.recorded.name == full }) else { continue }
            events.append(
                Event(
                    RecordedEvent(name: full, fileName: file, every: hardware ? period : every, isEstimate: hardware), at: place
                ))
        }
        guard events.count <= Event.limit else { throw Failure("cannot record \(events.count) events: a session takes at most \(Event.limit).") }
        return events
    }

    /// Of a counter of the hardware that is sampled by its number of events.
    private var period: UInt64 { every > 1 ? every : 1 }

    private func found(_ name: String, _ tracepoints: Lazy<[String: String?]>) throws -> (name: String, place: Event.Place) {
        for kind in ["uprobe", "uretprobe"] where name.hasPrefix(kind + ":") {
            return (name, try function(name, String(name.dropFirst(kind.count + 1)), atReturn: kind == "uretprobe"))
        }
        if name.hasPrefix("usdt:") { return (name, try staticProbe(name, String(name.dropFirst("usdt:".count)))) }
        let plain = HostEvents.aliases[name] ?? name
        if let counter = HostEvents.software.first(where: { $0.name == plain }) {
            guard counter.exists else { throw Failure("cannot record \(plain): this kernel doesn't count it.") }
            return (plain, .counter(counter.config))
        }
        if let counter = HostEvents.hardware.first(where: { $0.name == plain }) {
            guard counter.exists else {
                throw Failure(
                    "cannot record \(plain): this machine shows no counter of the hardware for it, as most virtual machines. `kiln record -e list` lists what there is."
                )
            }
            return (plain, .hardware(type: counter.type, config: counter.config, frequency: every > 1 ? nil : frequency ?? 99))
        }
        if let call = try systemCall(name) { return call }
        return try tracepoint(name, tracepoints)
    }

    // MARK: - Tracepoints

    private func tracepoint(_ name: String, _ tracepoints: Lazy<[String: String?]>) throws -> (String, Event.Place) {
        let known = try tracepoints.value(), parts = name.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        let plain = parts.last ?? ""
        // Where tracefs isn't mounted, nothing says whether a category is right.
        if parts.count <= 2, let category = known[plain], parts.count == 1 || category == nil || category == parts[0] {
            let prefix = category ?? (parts.count == 2 ? parts[0] : nil)
            return (prefix.map { "\($0):\(plain)" } ?? plain, .tracepoint(plain))
        }
        let calls = HostEvents.systemCalls.keys.flatMap { ["sys_enter_\($0)", "sys_exit_\($0)"] }
        let counters = (HostEvents.software + HostEvents.hardware).map(\.name)
        if counters.contains(parts[0]) { throw Failure("no event is named \(name): \(parts[0]) has no modifiers here, give it alone.") }
        let near = nearNames(to: plain, among: Array(known.keys) + calls + counters).map { near in
            known[near].flatMap { $0 }.map { "\($0):\(near)" } ?? near
        }
        throw unknown(name, near)
    }

    /// Nil: the name is no tracepoint of a system call.
    private func systemCall(_ name: String) throws -> (String, Event.Place)? {
        let plain = name.hasPrefix("syscalls:") ? String(name.dropFirst("syscalls:".count)) : name
        for (prefix, atReturn) in [("sys_enter_", false), ("sys_exit_", true)] where plain.hasPrefix(prefix) {
            let call = String(plain.dropFirst(prefix.count))
            guard let number = HostEvents.systemCalls[call] else {
                throw unknown(name, nearNames(to: call, among: HostEvents.systemCalls.keys).map { "syscalls:\(prefix)\($0)" })
            }
            return ("syscalls:\(plain)", .systemCall(number: number, atReturn: atReturn))
        }
        return nil
    }

    private func unknown(_ name: String, _ near: [String]) -> Failure {
        Failure(
            "no event is named \(name)" + (near.isEmpty ? "" : "; near: \(near.joined(separator: ", "))")
                + ". `kiln record -e list` lists what this host has.")
    }

    // MARK: - Functions and static probes

    /// `text`: `PATH:FUNCTION[+OFFSET]`
    private func function(_ event: String, _ text: String, atReturn: Bool) throws -> Event.Place {
        guard let colon = text.lastIndex(of: ":") else {
            throw Failure("\(event) names no function: give \(atReturn ? "uretprobe" : "uprobe"):PATH:FUNCTION.")
        }
        let path = try path(String(text[..<colon]), in: event)
        var name = String(text[text.index(after: colon)...]), distance: UInt64 = 0
        if let unnamed = try unnamedFunction(name, in: path) { return .functions(file: path, places: [FunctionPlace(offset: unnamed)], atReturn: atReturn) }
        if let plus = name.lastIndex(of: "+") {
            let digits = name[name.index(after: plus)...]
            let number = digits.hasPrefix("0x") ? UInt64(digits.dropFirst(2), radix: 16) : UInt64(digits)
            guard let number, !atReturn || number == 0 else {
                throw Failure(
                    "\(event): +\(digits) is no offset of an instruction: give a number, at the beginning of an instruction, and none with uretprobe.")
            }
            distance = number
            name = String(name[..<plus])
        }
        let places = try read(path)
        let functions = places.functions(named: name)
        guard !functions.isEmpty else {
            let near = nearNames(to: name, among: places.functionNames)
            throw Failure(
                "\(path) has no function \(name)" + (near.isEmpty ? "" : "; near: \(near.joined(separator: ", "))")
                    + ". `nm -D \(path)` lists those that a stripped file still names.")
        }
        guard !functions.contains(where: \.isIndirect) else {
            throw Failure(
                "\(name) of \(path) is chosen among several functions when a program starts (IFUNC): name the one that is called, as a flamegraph shows it.")
        }
        for function in functions {
            if let size = function.size, distance >= size { throw Failure("\(event): \(name) has \(size) bytes, so it has no instruction at +\(distance).") }
        }
        return .functions(file: path, places: functions.map { FunctionPlace(offset: $0.offset &+ distance) }, atReturn: atReturn)
    }

    /// The place of a function without a symbol, whose name is FILE+0xSTART; nil for another name. Throws a `Failure` if no function begins there.
    private func unnamedFunction(_ name: String, in path: String) throws -> UInt64? {
        guard let file = FilePath(path).lastComponent?.string, name.hasPrefix(file + "+0x") else { return nil }
        let found: FunctionList.Function?
        do {
            found = try FunctionList(of: path).select(FunctionPatterns([name])).functions.first
        } catch { throw Failure("cannot read the functions of \(path): \(error). Give a readable ELF file, or run as root.") }
        guard let found else {
            throw Failure("\(path) has no function that begins at \(name.dropFirst(file.count + 1)): `kiln functions --list \(path)` lists them.")
        }
        if let obstacle = found.obstacle { throw Failure("\(name) can't be probed: it \(obstacle). `kiln functions --list \(path)` says which can be.") }
        return found.offset
    }

    /// `text`: `PATH:PROVIDER:NAME`
    private func staticProbe(_ event: String, _ text: String) throws -> Event.Place {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        guard parts.count >= 3 else { throw Failure("\(event) names no probe: give usdt:PATH:PROVIDER:NAME.") }
        let path = try path(parts.dropLast(2).joined(separator: ":"), in: event)
        let probes = try read(path).staticProbes, provider = parts[parts.count - 2], name = parts[parts.count - 1]
        let found = probes.filter { $0.provider == provider && $0.name == name }
        guard !found.isEmpty else {
            let all = Set(probes.map { "\($0.provider):\($0.name)" })
            let near = nearNames(to: "\(provider):\(name)", among: all)
            throw Failure(
                all.isEmpty
                    ? "\(path) has no static probes (USDT)."
                    : "\(path) has no static probe \(provider):\(name); it has \((near.isEmpty ? Array(all.sorted().prefix(5)) : near).joined(separator: ", "))\(all.count > 5 ? " and others" : ""). `kiln record -e list 'usdt:\(path):*'` lists all."
            )
        }
        return .functions(file: path, places: found.map { FunctionPlace(offset: $0.offset, semaphore: $0.semaphore) }, atReturn: false)
    }

    private func read(_ path: String) throws -> ProbePlaces {
        do { return try ProbePlaces(of: path) } catch {
            throw Failure("cannot read the functions of \(path): \(error). Give a readable ELF file, or run as root.")
        }
    }

    /// A path as it is on the host, or in a target's tree of files. Without a slash: a file that a target has mapped (`libc` is libc.so.6), a
    /// program in PATH, or a library.
    private func path(_ given: String, in event: String) throws -> String {
        guard !given.isEmpty else { throw Failure("\(event) names no file.") }
        if given.contains("/") {
            if access(given, R_OK) == 0 { return given }
            for pid in pids where access("/proc/\(pid)/root/\(given)", R_OK) == 0 { return "/proc/\(pid)/root/\(given)" }
            throw Failure("cannot read \(given), which \(event) names: \(errorText(errno)).")
        }
        for pid in pids {
            if let mapped = mappedFile(given, of: pid) { return mapped }
        }
        if let found = FunctionFiles.find(given) { return found }
        throw Failure("no target has mapped a file named \(given), and neither PATH nor the folders of libraries have one: \(event) needs a path.")
    }

    private func mappedFile(_ name: String, of pid: Int32) -> String? {
        openableCodeFiles(ofProcess: pid).first { FunctionFiles.isLibrary($0.path, named: name) }?.opens
    }

    // MARK: - Files

    /// The event's name as a part of file names: letters, digits, dashes, dots and underscores. Of a path only the last part.
    private func fileName(_ event: String, besides others: [String]) -> String {
        var parts = event.split(separator: ":").map(String.init)
        if parts.count > 2 { parts = [parts[0]] + parts[1...].map { $0.split(separator: "/").last.map(String.init) ?? $0 } }
        let safe = parts.joined(separator: "-").unicodeScalars.prefix(100).map { scalar -> Character in
            scalar.isASCII && (scalar.properties.isAlphabetic || ("0"..."9").contains(scalar) || "-_.".unicodeScalars.contains(scalar))
                ? Character(scalar) : "_"
        }
        let name = String(safe)
        return (1...).lazy.map { $0 == 1 ? name : "\(name)-\($0)" }.first { !others.contains($0) } ?? name
    }
}

/// A value that is made at its first use.
final class Lazy<Value> {
    private let make: () throws -> Value
    private var made: Value?

    init(_ make: @escaping () throws -> Value) { self.make = make }

    func value() throws -> Value {
        let value = try made ?? make()
        made = value
        return value
    }
}
