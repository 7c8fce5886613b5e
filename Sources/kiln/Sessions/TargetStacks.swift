import KilnKernel
import KilnModel
import KilnSymbols

/// The stacks of one target with names, and what a session makes of them.
struct TargetStacks {
    private let target: SessionTarget
    /// Of the target in the session.
    private let index: Int
    private let table: StackTable
    /// The totals of the session.
    private let total: Snapshot
    /// The root of the target's own stacks.
    private let root: String
    private let tellsWork: Bool
    private let byKind: [StackKind: (stacks: [NamedStack], names: NamesRecord)]
    private let modules: SessionModules

    /// - Parameter withIdle: Off-CPU stacks include waits for new work.
    init(of target: SessionTarget, index: Int, _ kinds: [StackKind], in table: StackTable, total: Snapshot, folding: StackFolding, withIdle: Bool) {
        self.target = target
        self.index = index
        self.table = table
        self.total = total
        root = foldedSafe(target.stackRoot(of: index, in: table, target: index) ?? "")
        tellsWork = table.tellsWork
        let named = kinds.map { kind in
            (kind, folding.named(table, kind, withIdle: withIdle) { target.stackRoot(of: $0, in: table, target: index) })
        }
        byKind = Dictionary(uniqueKeysWithValues: named)
        modules = folding.modules
    }

    func add(to texts: inout FoldedTexts) {
        let stacks = stacks(texts.kind)
        texts.byTarget.append(foldedText(stacks))
        guard tellsWork, texts.files.byCommand != nil else { return }
        texts.byCommand.append(foldedText(byCommand: texts.kind == .offCPU ? stacks + keptSendBlocked : stacks))
    }

    /// The content of samples.jsonl. `describe` gives a kind's name and unit.
    func samples(_ describe: (StackKind) -> (name: String, unit: String)) -> SampleRecords {
        let kinds = byKind.keys.filter { $0 != .waker }
        return SampleRecords(
            table.history, kinds: Dictionary(uniqueKeysWithValues: kinds.map { ($0, describe($0)) }), named: kinds.flatMap(stacks), modules: modules.modules
        )
    }

    /// Adds the numbers that come from all stacks of the session: names, waits, wakers, and the tables by command.
    func describe(_ record: inout SessionRecord) {
        for (kind, (_, names)) in byKind {
            switch kind {
            case .onCPU:
                record.samples.onCPU.names = names
                record.samples.onCPU.processes = target.sampledProcesses(in: table)
            case .offCPU:
                record.samples.offCPU = offCPU
                record.samples.offCPU?.names = names
            case .waker: break
            case .event(let event): record.samples.events?[event].names = names
            }
        }
        if byKind[.waker] != nil { record.samples.offCPU?.wakers = .init(table.wakes.filter { isTargets($0.key.process) }) }
        guard tellsWork else { return }
        record.samples.byCommand = .init(
            process: index, onCPU: stacks(.onCPU), offCPU: byKind[.offCPU]?.stacks,
            waits: table.waitingStacks.filter { isTargets($0.key.process) }.map { ($0.key.process, $0.work, $0.key.isIdle, $0.times) },
            frequency: record.meanFrequency, snapshot: total, keepsAll: record.samples.keptCalls == nil
        )
    }

    /// Nil unless stacks of slow and of fast calls were kept.
    func slowAgainstFast(_ record: SessionRecord) -> SlowAgainstFast? {
        guard record.samples.keptCalls?.keepsFast == true else { return nil }
        return SlowAgainstFast(
            samples: stacks(.onCPU), frequency: record.meanFrequency, times: stacks(.offCPU) + sendBlocked(.slow) + sendBlocked(.fast),
            judged: Dictionary(uniqueKeysWithValues: total.judged.filter { $0.key.process == index }.map { ($0.key.name, $0.value) })
        )
    }

    private func stacks(_ kind: StackKind) -> [NamedStack] { byKind[kind]?.stacks ?? [] }

    private func sendBlocked(_ verdict: Work.Verdict?) -> [NamedStack] { NamedStack.sendBlocked(verdict, of: total, process: index, root: root) }

    /// Of the calls whose stacks are kept.
    private var keptSendBlocked: [NamedStack] {
        let keepsFast = byKind.values.contains { $0.stacks.contains { $0.work.verdict == .fast } }
        return sendBlocked(nil) + sendBlocked(.slow) + (keepsFast ? sendBlocked(.fast) : [])
    }

    private func isTargets(_ process: Int) -> Bool { target.stackRoot(of: process, in: table, target: index) != nil }

    private var offCPU: SessionRecord.OffCPU {
        let counts = total[OffCPUCounts.self]
        return .init(
            counts: [counts?.targets, counts?.descendants].compactMap { list in list.flatMap { index < $0.count ? $0[index] : nil } },
            waits: table.waitingStacks.filter { isTargets($0.key.process) }.map { ($0.key.isIdle, $0.times) }
        )
    }
}
