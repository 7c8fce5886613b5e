// swift-tools-version: 6.2
// Targets, in the order data flows: what runs in the kernel first, what a person reads last.
import PackageDescription

let package = Package(
    name: "kiln",
    products: [
        .executable(name: "kiln", targets: ["kiln"]),
        .library(name: "Flamegraph", targets: ["Flamegraph"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-protobuf", from: "1.39.0", traits: []),
        .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
    ],
    targets: [
        // What runs in the kernel, embedded, and the records both sides share.
        .target(
            name: "KilnBPF",
            path: "bpf",
            sources: ["embed.c"],
            cSettings: [.unsafeFlags(["-std=gnu2x"])]
        ),
        .target(name: "CLibbpf", linkerSettings: [.linkedLibrary("bpf"), .linkedLibrary("elf"), .linkedLibrary("z")]),
        // A static libdw needs the others behind it, in this order.
        .target(
            name: "CElfutils",
            linkerSettings: ["dw", "elf", "z", "lzma", "bz2", "zstd"].map { .linkedLibrary($0) }
        ),
        .target(name: "CLzma", linkerSettings: [.linkedLibrary("lzma")]),
        .target(name: "CZstd", linkerSettings: [.linkedLibrary("zstd")]),
        .target(name: "CZlib", linkerSettings: [.linkedLibrary("z")]),
        .target(name: "CMemory"),
        .target(name: "CDemangle", linkerSettings: [.linkedLibrary("iberty")]),
        .target(
            name: "CTOML",
            cxxSettings: [.define("TOML_ENABLE_FORMATTERS", to: "0"), .unsafeFlags(["-std=c++17", "-O2"])]
        ),
        .target(
            name: "KilnKernel",
            dependencies: ["CLibbpf", "KilnBPF", "KilnModel", .product(name: "SystemPackage", package: "swift-system")]
        ),
        // What strangers chose, made safe to show.
        .target(name: "PrintableText"),
        // Requests and replies on the wire, decoded.
        .target(name: "RESP"),
        .target(name: "KilnModel", dependencies: ["KilnBPF", "RESP", "PrintableText"]),
        .target(
            name: "KilnSymbols",
            dependencies: ["CElfutils", "CLzma", "CZstd", "CDemangle", "KilnBPF", "PrintableText", .product(name: "SystemPackage", package: "swift-system")],
            // Unoptimised code takes thirty times as long to make unwind tables, and tests wait for them.
            swiftSettings: [.unsafeFlags(["-O"], .when(configuration: .debug))]
        ),
        .target(
            name: "KilnTargets",
            dependencies: ["PrintableText", .product(name: "SystemPackage", package: "swift-system")]
        ),
        .target(
            name: "Flamegraph", path: "flamegraph",
            resources: [
                "model.js", "viewer.js", "commands.js", "rectangles.js", "boxes.js", "interaction.js", "svg.js", "skeleton.js", "stacks.js", "viewer.css",
            ].map { .embedInCode($0) }
        ),
        // A session's files, read again.
        .target(
            name: "KilnSessions", dependencies: ["KilnModel", "Flamegraph", "PrintableText"],
            // Without it, a session of an hour takes minutes to read in tests.
            swiftSettings: [.unsafeFlags(["-O"], .when(configuration: .debug))]
        ),
        // A session to one page.
        .target(
            name: "KilnReport", dependencies: ["CZlib", "KilnModel", "KilnSessions", "Flamegraph", "PrintableText"],
            resources: [
                "text.js", "data.js", "filter.js", "scale.js", "heatmap.js", "pointer.js", "selection.js", "flame.js", "tables.js", "address.js", "page.js",
                "report.css",
            ].map { .embedInCode("page/\($0)") },
            // Without it, a page of an hour takes minutes to make in tests.
            swiftSettings: [.unsafeFlags(["-O"], .when(configuration: .debug))]
        ),
        // A session's stacks to the formats of other tools, and their profiles to folded stacks.
        .target(
            name: "KilnProfiles",
            dependencies: ["CZlib", "Flamegraph", "KilnModel", "KilnSessions", "PrintableText", .product(name: "SwiftProtobuf", package: "swift-protobuf")],
            exclude: ["Protocols"],
            // Unoptimised code takes minutes for the profiles of tests.
            swiftSettings: [.unsafeFlags(["-O"], .when(configuration: .debug))]
        ),
        // Metrics as text that Prometheus reads.
        .target(
            name: "KilnMetrics", dependencies: ["KilnModel", "PrintableText"],
            // Unoptimised code takes ten times as long to write a scrape.
            swiftSettings: [.unsafeFlags(["-O"], .when(configuration: .debug))]
        ),
        // What answers HTTP requests, within limits.
        .target(
            name: "KilnServer",
            dependencies: [
                .product(name: "NIOCore", package: "swift-nio"), .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"), .product(name: "SystemPackage", package: "swift-system"),
            ]
        ),
        // kiln on another host: what both sides say to each other, and the files that arrive.
        .target(name: "KilnHosts", dependencies: ["PrintableText", .product(name: "SystemPackage", package: "swift-system")]),
        .executableTarget(
            name: "kiln",
            dependencies: [
                "CTOML", "RESP", "PrintableText", "KilnKernel", "KilnModel", "KilnSymbols", "KilnTargets", "Flamegraph", "KilnSessions", "KilnReport",
                "KilnProfiles", "KilnMetrics", "KilnServer", "KilnHosts", "CMemory",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "SystemPackage", package: "swift-system"),
            ]
        ),
        .executableTarget(
            name: "kiln-bench", dependencies: ["KilnKernel", "KilnModel", "KilnSymbols", "KilnTargets", "StackCheck", "LoadClient", "TestSupport"],
            path: "Benchmarks/kiln-bench"
        ),
        // Work for the scanners in user space, to count its instructions.
        .executableTarget(name: "scanner-count", dependencies: ["RESPHost"], path: "Benchmarks/scanner-count"),
        // A client whose requests are paced or not, with the latencies that it sees.
        .target(name: "LoadClient", dependencies: ["KilnBPF"], path: "Benchmarks/load-client"),
        // Observers to hold kiln against, for tests and benchmarks.
        .target(
            name: "ObserversBPF", dependencies: ["KilnBPF"], path: "Benchmarks/observers", exclude: ["observers.bpf.c"],
            cSettings: [.unsafeFlags(["-std=gnu2x"])]
        ),
        .executableTarget(
            name: "kiln-observer", dependencies: ["CLibbpf", "KilnKernel", "KilnModel", "ObserversBPF"], path: "Benchmarks/kiln-observer"
        ),
        .executableTarget(name: "flamegraph-bench", dependencies: ["TestSupport"], path: "Benchmarks/flamegraph-bench"),
        // The kernel's scanners, compiled for user space.
        .target(name: "RESPHost", path: "Tests/RESPHost", cSettings: [.headerSearchPath("."), .headerSearchPath("../../bpf")]),
        // The kernel's unwinder, compiled for user space.
        .target(
            name: "UnwindHost", path: "Tests/UnwindHost",
            cSettings: [.headerSearchPath("."), .headerSearchPath("../../bpf"), .headerSearchPath("../../bpf/include")]),
        // The unwinder's samples with what it saw, or with a clock around it: for tests and benchmarks.
        .target(
            name: "StackCheckBPF", dependencies: ["KilnBPF"], path: "Tests/StackCheckBPF", exclude: ["stack_check.bpf.c"],
            cSettings: [.unsafeFlags(["-std=gnu2x"])]
        ),
        // A protocol of lines, compiled into the programs that count requests.
        .target(
            name: "ToyProtocol", dependencies: ["KilnBPF"], path: "Tests/ToyProtocol", sources: ["embed.c"],
            cSettings: [.unsafeFlags(["-std=gnu2x"])]
        ),
        .target(name: "StackCheck", dependencies: ["KilnKernel", "KilnSymbols", "StackCheckBPF"], path: "Tests/StackCheck"),
        // Servers, child processes and connections, a headless browser, random numbers with a seed: for tests and benchmarks.
        .target(name: "TestSupport", path: "Tests/TestSupport"),
        .testTarget(name: "KilnBPFTests", dependencies: ["RESPHost", "TestSupport"]),
        .testTarget(name: "PrintableTextTests", dependencies: ["PrintableText"]),
        .testTarget(name: "RESPTests", dependencies: ["RESP", "TestSupport"]),
        .testTarget(name: "KilnModelTests", dependencies: ["KilnModel", "KilnBPF", "TestSupport"]),
        .testTarget(name: "KilnReportTests", dependencies: ["KilnReport", "KilnSessions", "KilnModel", "Flamegraph", "CZlib", "TestSupport"]),
        .testTarget(
            name: "KilnProfilesTests",
            dependencies: [
                "KilnProfiles", "KilnSessions", "KilnModel", "Flamegraph", "TestSupport", .product(name: "SwiftProtobuf", package: "swift-protobuf"),
            ]
        ),
        .testTarget(name: "KilnMetricsTests", dependencies: ["KilnMetrics", "KilnModel"]),
        .testTarget(name: "KilnHostsTests", dependencies: ["KilnHosts", "TestSupport", .product(name: "SystemPackage", package: "swift-system")]),
        .testTarget(name: "KilnServerTests", dependencies: ["KilnServer", "TestSupport"]),
        .testTarget(name: "FlamegraphTests", dependencies: ["Flamegraph", "TestSupport"], exclude: ["Fixtures"]),
        // elfutils' libdw, a second opinion on call frame information. Only tests link it.
        .target(name: "CLibdwReference", path: "Tests/CLibdwReference"),
        .testTarget(
            name: "KilnSymbolsTests",
            dependencies: [
                "KilnSymbols", "KilnBPF", "CLibdwReference", "UnwindHost", "TestSupport", .product(name: "SystemPackage", package: "swift-system"),
            ]
        ),
        .testTarget(
            name: "KilnTargetsTests", dependencies: ["KilnTargets", "TestSupport", .product(name: "SystemPackage", package: "swift-system")]
        ),
        .testTarget(
            name: "KilnTests",
            dependencies: [
                "kiln", "kiln-observer", "KilnBPF", "KilnModel", "KilnKernel", "KilnProfiles", "KilnSymbols", "KilnTargets", "CLibbpf", "CLibdwReference",
                "StackCheck",
                "TestSupport",
                "ToyProtocol", .product(name: "SwiftProtobuf", package: "swift-protobuf"), .product(name: "SystemPackage", package: "swift-system"),
            ],
            exclude: ["Functions/Fixtures", "Output/Golden", "Work/Fixtures"]
        ),
    ]
)
