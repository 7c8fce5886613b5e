import KilnModel
import KilnSessions
import SwiftProtobuf

extension ExportFormat {
    /// A trace of Perfetto: https://perfetto.dev/docs/reference/trace-packet-proto
    public static let perfetto = ExportFormat(
        name: "perfetto", title: "https://ui.perfetto.dev, 58 and later", endings: [".perfetto-trace", ".pftrace", ".perfetto"],
        bytes: { profile, options in
            var writer = PerfettoWriter(profile, options.requests)
            return try writer.trace().serializedBytes()
        })
}

/// Stack samples on tracks of threads, and requests of a trace on tracks of connections.
///
/// - The clock is the wall clock. The samples of an interval stand at its beginning: in which order they were taken is not known.
/// - Sessions have names of processes and threads, but only the target's number: other numbers are made up, from 1,000,000 on.
/// - What is known of a sample besides its stack stands below its frames.
struct PerfettoWriter {
    /// BUILTIN_CLOCK_REALTIME
    private static let wallClock: UInt32 = 1
    /// All packets are of one writer, so that numbers mean the same in all.
    private static let sequence: UInt32 = 1
    private static let firstInvented: Int32 = 1_000_000

    private let profile: Profile
    private let stacks: LabelledStacks
    private let requests: [TraceRow]
    private var packets: [Perfetto_TracePacket] = []

    init(_ profile: Profile, _ requests: [TraceRow]) {
        self.profile = profile
        self.requests = requests
        stacks = LabelledStacks(profile)
    }

    mutating func trace() -> Perfetto_Trace {
        var first = packet()
        first.sequenceFlags = 1  // SEQ_INCREMENTAL_STATE_CLEARED
        first.clockSnapshot = .with {
            $0.primaryTraceClock = Self.wallClock
            $0.clocks = [.with { ($0.clockID, $0.timestamp) = (Self.wallClock, profile.start) }]
        }
        first.tracePacketDefaults = .with {
            $0.timestampClockID = Self.wallClock
            $0.stackSampleDefaults.source = "kiln \(profile.version)"
        }
        first.timestamp = profile.start
        packets = [first]
        addInterned(addTracks())
        addSamples()
        addRequests()
        return .with { $0.packet = packets }
    }

    private func packet(_ timestamp: UInt64? = nil) -> Perfetto_TracePacket {
        .with {
            $0.trustedPacketSequenceID = Self.sequence
            $0.sequenceFlags = 2  // SEQ_NEEDS_INCREMENTAL_STATE
            if let timestamp {
                $0.timestamp = timestamp
                $0.timestampClockID = Self.wallClock
            }
        }
    }

    /// The number of each track's process and thread.
    private var tasks: [(pid: Int32, tid: Int32)] = []

    /// Descriptors of processes and threads.
    private mutating func addTracks() -> [Perfetto_StackSample.TaskContext] {
        var pids: [String: Int32] = [:], tids: [String: Int32] = [:], invented = Self.firstInvented
        func next() -> Int32 {
            invented += 1
            return invented
        }
        func describe(_ body: (inout Perfetto_TrackDescriptor) -> Void) {
            packets.append(
                .with {
                    $0.trustedPacketSequenceID = Self.sequence
                    $0.trackDescriptor = .with(body)
                    $0.trackDescriptor.uuid = UInt64(packets.count)
                })
        }
        var contexts: [Perfetto_StackSample.TaskContext] = []
        for (track, _) in stacks.tracks {
            let isTarget = profile.pid != 0 && pids.isEmpty
            let pid = pids[track.process] ?? (isTarget ? profile.pid : next())
            if pids[track.process] == nil {
                pids[track.process] = pid
                describe { $0.process = .with { ($0.pid, $0.processName) = (pid, track.process) } }
            }
            let thread = track.process + ";" + (track.thread ?? "")
            let tid = tids[thread] ?? (track.thread == nil ? pid : next())
            if tids[thread] == nil {
                tids[thread] = tid
                describe { $0.thread = .with { ($0.pid, $0.tid, $0.threadName) = (pid, Int64(tid), track.thread ?? track.process) } }
            }
            tasks.append((pid, tid))
            contexts.append(.with { ($0.iid, $0.pid, $0.tid) = (UInt64(contexts.count + 1), UInt32(pid), UInt32(tid)) })
        }
        return contexts
    }

    /// What samples name by number; the number of a stack is its place plus one.
    private mutating func addInterned(_ contexts: [Perfetto_StackSample.TaskContext]) {
        var functions = StringTable(), files = StringTable(), sources = StringTable(), builds = StringTable()
        func strings(_ table: StringTable) -> [Perfetto_InternedString] {
            table.strings.enumerated().dropFirst().map { number, text in .with { ($0.iid, $0.str) = (UInt64(number), .init(text.utf8)) } }
        }
        var data = Perfetto_InternedData()
        data.stackSampleTaskContexts = contexts
        data.stackSampleCounterDescriptors = profile.series.enumerated().map { number, series in
            .with {
                $0.iid = UInt64(number + 1)
                $0.name = series.name
                switch series.unit {
                case .samples(let period):
                    ($0.unit, $0.unitMultiplier) = (.nanoseconds, period)
                    $0.description_p = "CPU time; a sample stands for \(period) ns"
                case .nanoseconds: $0.unit = .nanoseconds
                case .events: $0.unit = .count
                }
            }
        }
        data.mappings = profile.modules.enumerated().map { number, module in
            .with {
                $0.iid = UInt64(number + 1)
                $0.pathStringIds = [UInt64(files.number(module.module))]
                if let buildID = module.buildID { $0.buildID = UInt64(builds.number(buildID)) }
            }
        }
        data.frames = stacks.frames.enumerated().map { number, frame in
            .with {
                $0.iid = UInt64(number + 1)
                $0.functionNameID = UInt64(functions.number(frame.function.name))
                if let module = frame.module { $0.mappingID = UInt64(module + 1) }
                if let file = frame.function.file { $0.sourcePathIid = UInt64(sources.number(file)) }
                if let line = frame.function.line { $0.lineNumber = UInt32(clamping: line) }
                switch frame.function.kind {
                case .kernel: $0.kind = .kernel
                case .generated: $0.kind = .jit
                case .native, .inlined: $0.kind = frame.function.name.hasPrefix("py:") ? .interpreted : .native
                }
            }
        }
        let used = Set(stacks.tracks.flatMap { $0.samples.map(\.stack) }).filter { $0 >= 0 }
        data.callstacks = used.sorted().map { stack in
            .with {
                $0.iid = UInt64(stack + 1)
                $0.frameIds = stacks.path(of: stack).map { UInt64($0 + 1) }
            }
        }
        (data.functionNames, data.mappingPaths, data.sourcePaths, data.buildIds) = (strings(functions), strings(files), strings(sources), strings(builds))
        var interned = packet()
        interned.internedData = data
        packets.append(interned)
    }

    private mutating func addSamples() {
        for (number, (track, samples)) in stacks.tracks.enumerated() {
            for sample in samples {
                var packet = packet(sample.interval.map { profile.intervals[Int($0)].start } ?? profile.start)
                packet.stackSample = .with {
                    $0.taskContextIid = UInt64(number + 1)
                    if sample.stack >= 0 { $0.callstackIid = UInt64(sample.stack + 1) }
                    $0.primaryDescriptorIid = UInt64(track.series + 1)
                    $0.primaryWeight = sample.weight
                }
                packets.append(packet)
            }
        }
    }

    /// A track for each connection, below the server's process, with a slice from the read of each request to the send of its reply.
    private mutating func addRequests() {
        var tracks: [String: UInt64] = [:], process: UInt64?
        for request in requests {
            guard let begin = WallClock.nanoseconds(request.time) else { continue }
            if process == nil {
                process = 1 << 32
                packets.append(
                    .with {
                        $0.trustedPacketSequenceID = Self.sequence
                        $0.trackDescriptor = .with { ($0.uuid, $0.name) = (process ?? 0, "requests") }
                    })
            }
            let track = tracks[request.client] ?? (1 << 32) + UInt64(tracks.count + 1)
            if tracks[request.client] == nil {
                tracks[request.client] = track
                packets.append(
                    .with {
                        $0.trustedPacketSequenceID = Self.sequence
                        $0.trackDescriptor = .with { ($0.uuid, $0.name, $0.parentUuid) = (track, request.client, process ?? 0) }
                    })
            }
            var slice = packet(begin)
            slice.trackEvent = .with {
                $0.type = .sliceBegin
                $0.trackUuid = track
                $0.name = request.command ?? request.class
                $0.categories = ["request"]
                $0.debugAnnotations = [
                    .with { ($0.name, $0.stringValue) = ("request", request.request) }, .with { ($0.name, $0.stringValue) = ("status", request.status) },
                ]
                for (name, time) in [("queue_ns", request.queueNs), ("exec_ns", request.execNs), ("reply_ns", request.replyNs)] {
                    if let time { $0.debugAnnotations.append(.with { ($0.name, $0.intValue) = (name, Int64(clamping: time)) }) }
                }
            }
            packets.append(slice)
            // Without a reply it has no length.
            var end = packet(begin &+ (request.latencyNs ?? 0))
            end.trackEvent = .with { ($0.type, $0.trackUuid) = (.sliceEnd, track) }
            packets.append(end)
        }
    }
}
