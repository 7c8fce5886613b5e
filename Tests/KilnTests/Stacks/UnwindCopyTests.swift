import CLibbpf
import CLibdwReference
import Foundation
import Glibc
import KilnKernel
import KilnModel
import KilnSymbols
import StackCheck
import TestSupport
import Testing

extension KernelTests {
    /// The kernel's stacks against those that libdw makes of the same registers and the same 32 KiB of stack.
    @Suite struct UnwindCopyTests {
        @Test func libdwSeesTheServersStacksAsTheKernelDid() throws {
            let server = try RedisServer()
            let loads = try server.mixedLoad()
            let result = try SampleComparison(of: server.pid, samples: 10_000)
            withExtendedLifetime(loads) {}
            result.report("redis-server")
            #expect(result.compared >= 10_000)
            #expect(result.guessed == 0)
            #expect(result.sameShare >= 0.995)
            #expect(result.different.count > 100, "the load was not mixed")
        }

        /// A frame that is moved to a multiple of 64 is found by r10 before and after, and by a word of the stack between.
        @Test(.enabled(if: Program.canCompile, "no C compiler")) func realignedFramesAreFoundAtEachOfTheirInstructions() throws {
            let program = try Program(
                """
                __attribute__((noinline)) void use(void *a, void *b) { *(volatile char *)a = *(volatile char *)b; }
                __attribute__((noinline)) void aligned(int n) {
                    char wide[64] __attribute__((aligned(64)));
                    use(__builtin_alloca(n), wide);
                    use(wide, wide);
                }
                int main(int count, char **words) { for (;;) aligned(count * 64); }
                """)
            usleep(200_000)
            let result = try SampleComparison(of: program.pid, samples: 3000)
            result.report("realigned frames")
            #expect(result.compared >= 3000)
            #expect(result.sameShare >= 0.995)
            #expect(result.complete == result.compared)
        }

        @Test func whatEndedSharesOneMapOfNothing() throws {
            var object = try BPFObject(stack_check_object(), name: "stack_check")
            object.loadOnly([])
            try object.load()
            let mappings = try object.map("code_mappings")
            let unwinding = UnwindMaps(tables: try object.map("unwind_tables"), mappings: mappings)
            let code = ProcessCode([CodeMapping(start: 0, end: 4096, bias: 0, file: nil) { nil }])
            /// The kernel's numbers of the maps that the processes have.
            func maps() -> Set<UInt32> {
                Set(
                    (UInt32(0)..<307).map { process in
                        var process = process, number: UInt32 = 0
                        return bpf_map_lookup_elem(mappings.fd, &process, &number) == 0 ? number : 0
                    })
            }
            // More than change at once.
            try unwinding.set(Dictionary(uniqueKeysWithValues: (0..<307).map { ($0, code) }))
            #expect(maps().count == 307)
            try unwinding.set([:], forgetting: Array(0..<300))
            try unwinding.set([:], forgetting: Array(300..<307))
            #expect(maps().count == 1 && !maps().contains(0))
        }

        @Test func mappingsBeyondTheCeilingAreCountedOnce() throws {
            var object = try BPFObject(stack_check_object(), name: "stack_check")
            object.loadOnly([])
            try object.load()
            let unwinding = UnwindMaps(tables: try object.map("unwind_tables"), mappings: try object.map("code_mappings"))
            let code = (0..<UInt64(KILN_MAPPINGS_CAPACITY) + 17).map { CodeMapping(start: $0 << 13, end: $0 << 13 + 4096, bias: 0, file: nil) { nil } }
            try unwinding.set([0: ProcessCode(Array(code.dropLast(17)))])
            #expect(unwinding.mappingsLeftOut == 0)
            try unwinding.set([0: ProcessCode(code), 1: ProcessCode(code)])
            try unwinding.set([0: ProcessCode(Array(code.dropFirst(3)))])
            #expect(unwinding.mappingsLeftOut == 34)
        }

        /// Five tables of 16 MiB, of which four fit.
        @Test func tablesBeyondTheCeilingAreLeftOutAndCounted() throws {
            var object = try BPFObject(stack_check_object(), name: "stack_check")
            object.loadOnly([])
            try object.load()
            let unwinding = UnwindMaps(tables: try object.map("unwind_tables"), mappings: try object.map("code_mappings"))
            let cells = UnwindCells(base: 0, granules: 1, cells: [UInt64](repeating: 0, count: 1 << 21))
            let mappings = (0..<UInt64(5)).map { CodeMapping(start: $0 << 32, end: $0 << 32 + 4096, bias: 0, file: $0) { cells } }
            try unwinding.set([0: ProcessCode(mappings)])
            #expect(unwinding.leftOut == 1)
            // A second process with the same files takes no more.
            try unwinding.set([1: ProcessCode(Array(mappings.prefix(4)))])
            #expect(unwinding.leftOut == 1)
            #expect(4 * cells.cells.count * 8 == UnwindMaps.memoryCeiling)
        }
    }
}

extension RedisServer {
    /// Clients that go on until they are let go: small and large commands, one by one and in pipelines, scripts and sorting.
    func mixedLoad() throws -> [Child] {
        let single = "set,get,incr,lpush,rpush,lpop,rpop,sadd,hset,spop,zadd,zpopmin,lrange_100,lrange_500,mset"
        let script = "local t = {} for i = 1, 100 do t[i] = string.format('%d:%s', i, cjson.encode({a = i})) end return #table.concat(t)"
        _ = try Connection(port: port).reply(to: "EVAL", "for i = 1, 500 do redis.call('SADD', 'numbers', i * 7919 % 1000) end", "0")
        return try [
            ["-t", single, "-c", "20", "-n", "20000"], ["-t", single, "-c", "10", "-n", "100000", "-P", "16", "-d", "300"],
            ["-c", "1", "EVAL", script, "0"], ["-c", "1", "SORT", "numbers", "DESC"],
        ].map { try Child("redis-benchmark", ["-p", "\(port)", "-q", "-l"] + $0) }
    }
}

/// Samples of a process, each unwound twice.
struct SampleComparison {
    private(set) var compared = 0
    /// Not compared: libdw met code without call frame information, and guessed.
    private(set) var guessed = 0
    private(set) var same = 0
    private(set) var complete = 0
    /// Stacks, each once.
    private(set) var different: Set<[UInt64]> = []
    private(set) var differences: [String] = []
    /// Of libdw's frames those that the kernel has, too, from the innermost on.
    private(set) var frames = 0
    private(set) var framesRight = 0

    var sameShare: Double { Double(same) / Double(max(compared, 1)) }

    /// `table`: of a file, for the kernel's side. libdw has the file's call frame information.
    init(
        of pid: Int32, samples: Int, within seconds: Double = 60, table: @escaping (UnwindableFile) -> UnwindTable? = { try? $0.unwindTable() }
    ) throws {
        guard let reference = reference_process_open(pid) else { throw TestFailure("libdw can't read process \(pid)") }
        defer { reference_process_close(reference) }
        let stack = UnsafeMutablePointer<reference_stack>.allocate(capacity: 1)
        defer { stack.deallocate() }
        let check = try StackCheck(.copies, pid: pid, frequency: 1999, table: table)
        let end = Date().addingTimeInterval(seconds)
        while compared < samples, Date() < end {
            usleep(20_000)
            check.drain { if compared < samples { compare($0, reference, stack) } }
        }
    }

    private mutating func compare(
        _ copy: UnsafePointer<stack_copy>, _ reference: OpaquePointer, _ stack: UnsafeMutablePointer<reference_stack>
    ) {
        let registers = withUnsafeBytes(of: copy.pointee.registers) { Array($0.bindMemory(to: UInt64.self)) }
        let own = withUnsafeBytes(of: copy.pointee.frames) {
            $0.bindMemory(to: UInt64.self).prefix(Int(copy.pointee.depth)).map { $0 & ~(KILN_FRAME_INTERRUPTED | KILN_FRAME_GUESSED) }
        }
        reference_unwind_stack(reference, registers, Self.read, UnsafeMutableRawPointer(mutating: copy), stack)
        let other = withUnsafeBytes(of: &stack.pointee.frames) { Array($0.bindMemory(to: UInt64.self).prefix(stack.pointee.count)) }
        guard !stack.pointee.is_guessed else {
            guessed += 1
            return
        }
        compared += 1
        different.insert(own)
        frames += other.count
        framesRight += zip(own, other).prefix { $0 == $1 }.count
        if copy.pointee.end == KILN_END_COMPLETE.rawValue { complete += 1 }
        if own == other {
            same += 1
        } else {
            let end = UnwindTermination(rawValue: copy.pointee.end)?.name ?? "?"
            let error = stack.pointee.error.map { ", libdw: " + String(cString: $0) } ?? ""
            differences.append("\(Self.text(own)) (\(end)), but libdw \(Self.text(other))\(error)")
        }
    }

    /// Of the copied pages.
    private static let read: reference_read = { context, address, to, size in
        guard let context, let to else { return false }
        let copy = context.assumingMemoryBound(to: stack_copy.self)
        let count = UInt64(copy.pointee.pages) * UInt64(STACK_COPY_PAGE)
        let start = copy.pointee.start
        guard address >= start, address - start <= count, count - (address - start) >= UInt64(size) else { return false }
        // The copy is the record's end. Swift doesn't import so large an array.
        let bytes = context + MemoryLayout<stack_copy>.size - Int(STACK_COPY_PAGES * STACK_COPY_PAGE)
        memcpy(to, bytes + Int(address - start), size)
        return true
    }

    private static func text(_ frames: [UInt64]) -> String { frames.map { String($0, radix: 16) }.joined(separator: " ") }

    /// Prints every difference.
    func report(_ name: String) {
        print("\(name): \(same) of \(compared) samples alike, \(complete) complete, \(different.count) different stacks; \(guessed) not compared")
        for difference in differences { print("  \(difference)") }
    }
}
