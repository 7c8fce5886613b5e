import KilnBPF
import Testing

@testable import KilnModel

struct WorkTests {
    private static let get = CommandName(bytes: Array("GET".utf8))
    private static let names = [0: CommandName.other, 16: get]

    private func work(_ activity: kiln_activity, row: Int = 0, verdict: kiln_verdict = KILN_VERDICT_NONE, idle: Bool = false) -> Work {
        Work(label: label(activity, row, verdict, idle), names: Self.names)
    }

    private func label(_ activity: kiln_activity, _ row: Int = 0, _ verdict: kiln_verdict = KILN_VERDICT_NONE, _ idle: Bool = false) -> Int {
        Int(activity.rawValue) << Int(KILN_LABEL_ACTIVITY_SHIFT) | row << Int(KILN_LABEL_ROW_SHIFT)
            | Int(verdict.rawValue) << Int(KILN_LABEL_VERDICT_SHIFT) | (idle ? Int(KILN_LABEL_IDLE) : 0)
    }

    @Test func aLabelIsACommandAndWhatIsDoneForIt() {
        #expect(work(KILN_ACTIVITY_EXEC, row: 16) == Work(.command(Self.get), .exec))
        #expect(work(KILN_ACTIVITY_REPLY, row: 16) == Work(.command(Self.get), .reply))
        #expect(work(KILN_ACTIVITY_READ, row: 16, idle: true) == Work(.command(Self.get), .read))
        #expect(work(KILN_ACTIVITY_EXEC, row: 16, verdict: KILN_VERDICT_SLOW) == Work(.command(Self.get), .exec, .slow))
        #expect(work(KILN_ACTIVITY_EXEC, row: 16, verdict: KILN_VERDICT_FAST) == Work(.command(Self.get), .exec, .fast))
        #expect(work(KILN_ACTIVITY_EXEC, row: Int(KILN_LABEL_SEVERAL)) == Work(.pipeline, .exec))
        // The row of a process's other commands, and one whose name is not known.
        #expect(work(KILN_ACTIVITY_EXEC, row: 0) == Work(.command(.other), .exec) && work(KILN_ACTIVITY_EXEC, row: 17) == Work(.command(.other), .exec))
    }

    @Test func aLabelIsWorkForNoCommand() {
        #expect(work(KILN_ACTIVITY_LOOP, idle: true) == Work(.eventLoop) && work(KILN_ACTIVITY_BACKGROUND) == Work(.background))
        let reasons = (0..<Int(KILN_UNKNOWN_WORK_COUNT.rawValue)).map { work(KILN_ACTIVITY_UNKNOWN, row: $0) }
        #expect(Set(reasons).count == Int(KILN_UNKNOWN_WORK_COUNT.rawValue))
        #expect(reasons[Int(KILN_UNKNOWN_IO_THREADS.rawValue)] == Work(.unknown(reason: "io-threads")))
        #expect(Work.meaning(ofReason: "io-threads")?.isEmpty == false && Work.meaning(ofReason: "none such") == nil)
        // What no version has yet.
        #expect(work(KILN_ACTIVITY_UNKNOWN, row: Int(KILN_UNKNOWN_WORK_COUNT.rawValue)) == Work(.unlabelled))
        #expect(
            Work(label: 0, names: Self.names) == Work(.unlabelled) && Work(label: 7 << Int(KILN_LABEL_ACTIVITY_SHIFT), names: Self.names).subject == .unlabelled
        )
    }

    @Test func stacksWithSeveralLabelsAreOneStackWithSeveralWorks() {
        var table = StackTable()
        let frames = StackFrames(kernel: [], user: [1], interrupted: [], termination: .complete)
        let labels = [label(KILN_ACTIVITY_EXEC, 16), label(KILN_ACTIVITY_READ, 16), label(KILN_ACTIVITY_LOOP)]
        for (index, label) in labels.enumerated() {
            let key = StackTable.Key(hash: 7, process: 0, label: label)
            if index == 0 { table.learn(key, frames) }
            table.weights[key] = [3, 0, 5][index]
        }
        #expect(!table.tellsWork && table.stacks(of: .onCPU).allSatisfy { $0.work == Work(.unlabelled) })
        table.commandNames = Self.names
        #expect(table.tellsWork)
        #expect(table.stacks(of: .onCPU).map(\.work) == [Work(.eventLoop), Work(.command(Self.get), .exec)])
        #expect(table.stacks(of: .onCPU).map(\.weight) == [5, 3] && table.weights(of: .onCPU) == [0: 8])
    }

    /// What else a label has does not make a wait idle, nor keeps it from being.
    @Test func onlyOneBitOfALabelMeansIdle() {
        func isIdle(_ kind: StackKind, _ label: Int) -> Bool { StackTable.Key(hash: 1, process: 0, kind: kind, label: label).isIdle }
        #expect(isIdle(.offCPU, label(KILN_ACTIVITY_LOOP, 0, KILN_VERDICT_NONE, true)) && isIdle(.offCPU, 1))
        #expect(!isIdle(.offCPU, label(KILN_ACTIVITY_EXEC, 16, KILN_VERDICT_SLOW)) && !isIdle(.onCPU, 1))
    }
}
