import CLibbpf
import Foundation
import Glibc
import KilnSymbols
import TestSupport
import Testing

extension KernelTests {
    /// Which functions the kernel takes uprobes for, against what kiln expects.
    @Suite(
        .enabled(if: Program.canCompile, "no C compiler"),
        .enabled(if: kiln_probe_uprobe_multi() == 0, "REFUSED by this host: uprobe_multi"))
    struct RefusedInstructionTests {
        /// Reads the path of a file and pairs of a letter and an offset. Maps the file and attaches an empty program to it: with one link at all offsets
        /// with `+`, and with a link each at those with `-`. Writes the error of each link.
        private static let program = #"""
            #include <errno.h>
            #include <fcntl.h>
            #include <linux/bpf.h>
            #include <stdint.h>
            #include <stdio.h>
            #include <stdlib.h>
            #include <string.h>
            #include <sys/mman.h>
            #include <sys/stat.h>
            #include <sys/syscall.h>
            #include <unistd.h>

            /* BPF_TRACE_UPROBE_MULTI, and union bpf_attr of such a link: newer than the headers of some distributions. */
            enum { UPROBE_MULTI = 48 };
            struct link { uint32_t program, target, type, flags; uint64_t path, offsets, counters, cookies; uint32_t count, probe_flags, pid; uint64_t rest[16]; };

            static int attach(int program, const char *path, uint64_t *offsets, uint32_t count)
            {
                struct link link = { .program = program, .type = UPROBE_MULTI, .path = (uint64_t)path, .offsets = (uint64_t)offsets, .count = count, .pid = getpid() };
                int fd = syscall(SYS_bpf, BPF_LINK_CREATE, &link, 64);

                if (fd < 0)
                    return errno;
                close(fd);
                return 0;
            }

            int main(int argc, char **argv)
            {
                static uint64_t accepted[1 << 20], refused[1 << 10];
                uint32_t accepted_count = 0, refused_count = 0, i;
                char name[4096], path[4096], sign;
                struct bpf_insn code[] = { { .code = 0xb7 }, { .code = 0x95 } };
                union bpf_attr load;
                unsigned long offset;
                struct stat status;
                FILE *in, *out;
                int program, file;

                snprintf(name, sizeof(name), "%s/places", argv[1]);
                in = fopen(name, "r");
                snprintf(name, sizeof(name), "%s/results", argv[1]);
                out = fopen(name, "w");
                if (!in || !out || fscanf(in, "%4095s", path) != 1)
                    return 1;
                while (fscanf(in, " %c %lu", &sign, &offset) == 2)
                    if (sign == '+' && accepted_count < 1 << 20)
                        accepted[accepted_count++] = offset;
                    else if (sign == '-' && refused_count < 1 << 10)
                        refused[refused_count++] = offset;
                file = open(path, O_RDONLY);
                if (file < 0 || fstat(file, &status) || mmap(0, status.st_size, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 0) == MAP_FAILED)
                    return 2;
                memset(&load, 0, sizeof(load));
                load.prog_type = BPF_PROG_TYPE_KPROBE;
                load.expected_attach_type = UPROBE_MULTI;
                load.insns = (uint64_t)code;
                load.insn_cnt = 2;
                load.license = (uint64_t)"GPL";
                program = syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof(load));
                if (program < 0)
                    return 3;
                fprintf(out, "%d\n", attach(program, path, accepted, accepted_count));
                for (i = 0; i < refused_count; i++)
                    fprintf(out, "%d\n", attach(program, path, refused + i, 1));
                return fclose(out) != 0;
            }
            """#

        private struct Answer {
            let accepted: Int32
            let refused: [Int32]
        }

        private func ask(_ path: String, accepted: [UInt64], refused: [UInt64]) throws -> Answer {
            let places = [path] + accepted.map { "+ \($0)" } + refused.map { "- \($0)" }
            let program = try Program(Self.program, ["-O1", "-w"]) { directory in
                try places.joined(separator: "\n").write(toFile: directory + "/places", atomically: true, encoding: .utf8)
                return [directory + "/program", directory]
            }
            try #require(program.wait() == 0)
            let results = try String(contentsOfFile: program.directory + "/results", encoding: .utf8).split(separator: "\n").compactMap { Int32($0) }
            try #require(results.count == 1 + refused.count)
            return Answer(accepted: results[0], refused: Array(results.dropFirst()))
        }

        /// Linux gives ENOTSUPP, which C libraries don't know, or ENOEXEC.
        private static let errors: Set<Int32> = [524, ENOEXEC]

        @Test(arguments: ["/usr/bin/redis-server", "libc"])
        func everyFunctionOfAFileIsTakenOrRefusedAsExpected(file: String) throws {
            let path = file.hasPrefix("/") ? file : try #require(mappedCodeFiles(ofProcess: getpid()).first { $0.contains("/libc.so") })
            let functions = try FunctionList(of: path).select(try FunctionPatterns()).functions
            let refused = functions.filter { if case .refused? = $0.obstacle { true } else { false } }
            let answer = try ask(path, accepted: functions.filter { $0.obstacle == nil }.map(\.offset), refused: refused.map(\.offset))
            #expect(answer.accepted == 0)
            for (function, error) in zip(refused, answer.refused) {
                #expect(Self.errors.contains(error), "\(function.name) \(function.obstacle?.description ?? ""): \(error)")
            }
            #expect(file != "libc" || refused.contains { $0.names.contains("pthread_spin_lock") })
        }

        @Test func everyKindOfInstructionIsTakenOrRefusedAsExpected() throws {
            var variants = Self.variants, random = SeededGenerator(seed: 20)
            variants.shuffle(using: &random)
            let directory = temporaryDirectory(), path = directory + "/instructions"
            defer { try? FileManager.default.removeItem(atPath: directory) }
            var bytes: [UInt8] = [], accepted: [UInt64] = [], refused: [UInt64] = []
            var kinds: [RefusedInstruction: Int] = [:], refusals: [(bytes: [UInt8], kind: RefusedInstruction)] = []
            for variant in variants {
                let offset = UInt64(bytes.count), slot = variant + [UInt8](repeating: 0, count: 64 - variant.count)
                bytes += slot
                guard let kind = slot.withUnsafeBytes({ RefusedInstruction(at: $0) }) else {
                    accepted.append(offset)
                    continue
                }
                // The kernel waits for a grace period after each refusal.
                kinds[kind, default: 0] += 1
                guard kinds[kind, default: 0] <= 8 else { continue }
                refused.append(offset)
                refusals.append((variant, kind))
            }
            bytes += [UInt8](repeating: 0, count: 4096 - bytes.count % 4096)
            try Data(bytes).write(to: URL(fileURLWithPath: path))
            let answer = try ask(path, accepted: accepted, refused: refused)
            #expect(answer.accepted == 0)
            for (refusal, error) in zip(refusals, answer.refused) {
                #expect(Self.errors.contains(error), "\(refusal.kind) \(refusal.bytes.map { String($0, radix: 16) }): \(error)")
            }
            #expect(accepted.count > 1500 && kinds.count >= 8, "\(accepted.count) accepted, \(kinds)")
        }

        /// One of each opcode, with several prefixes; of vector instructions some that exist.
        private static var variants: [[UInt8]] {
            var variants: [[UInt8]] = []
            let opcodes = UInt8.min...UInt8.max
            for prefix in [[], [0x2e], [0x36], [0x3e], [0x64], [0x66], [0x67], [0xf0], [0xf2], [0xf3], [0x48]] as [[UInt8]] {
                // Behind REX no prefix is left, and REX2 is newer than some kernels.
                let next = opcodes.filter {
                    prefix != [0x48]
                        || $0 & 0xf0 != 0x40 && ![0x0f, 0x26, 0x2e, 0x36, 0x3e, 0x62, 0xc4, 0xc5, 0xd5].contains($0) && !(0x64...0x67 ~= $0) && $0 < 0xf0
                }
                variants += next.filter { ![0x62, 0xc4, 0xc5, 0xd5].contains($0) }.map { prefix + [$0, 0xc0] }
            }
            // Behind 0f the other opcodes are reserved, alone or with a prefix.
            let escaped: [ClosedRange<UInt8>] = [0x10...0x1f, 0x28...0x2e, 0x40...0x5f, 0x90...0xa5, 0xaf...0xb7, 0xc0...0xc1, 0xc8...0xcf]
            for prefix in [[], [0x66], [0xf2], [0xf3]] as [[UInt8]] { variants += escaped.joined().map { prefix + [0x0f, $0, 0xc0] } }
            variants += ([0x00, 0x10, 0x1c, 0x20, 0x28, 0xf0, 0xf1] as [UInt8]).map { [0x0f, 0x38, $0, 0xc0] }
            let vector: [UInt8] = [0x10, 0x14, 0x28, 0x2e, 0x51, 0x54, 0x57, 0x58, 0x5f, 0xc6]
            variants +=
                vector.map { [0xc5, 0xf8, $0, 0xc0] } + vector.map { [0xc4, 0xe1, 0x78, $0, 0xc0] } + vector.map { [0x62, 0xf1, 0x7c, 0x48, $0, 0xc0] }
            variants += ([0x6e, 0x6f, 0x7f, 0xd4, 0xdb, 0xeb, 0xef, 0xfa, 0xfe] as [UInt8]).flatMap { [[0xc5, 0xf9, $0, 0xc0], [0xc5, 0xfd, $0, 0xc0]] }
            variants += ([0x00, 0x17, 0x18, 0x1e, 0x36, 0x37, 0x3e, 0x58, 0x78] as [UInt8]).map { [0xc4, 0xe2, 0x79, $0, 0xc0] }
            return variants + [
                [0xc5, 0xf8, 0x77], [0xf3, 0x0f, 0x1e, 0xfa], [0x8e, 0xd0], [0x8e, 0xd8], [0x0f, 0x1f, 0x44, 0, 0], [0x64, 0x48, 0x8b, 4, 0x25],
            ]
        }
    }
}
