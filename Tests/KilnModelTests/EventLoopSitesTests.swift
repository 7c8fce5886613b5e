import KilnBPF
import Testing

@testable import KilnModel

/// Stacks of an invented server: 10 main, 20 its event loop, 3x the places in the loop, 50 and more what is called from there.
struct EventLoopSitesTests {
    private static let entry: UInt64 = 0xffff_ffff_8100_0000
    private static let receives: UInt64 = 31, waits: UInt64 = 32, timers: UInt64 = 33, beforeSleep: UInt64 = 34

    private static func label(_ activity: kiln_activity) -> Int {
        Int(activity.rawValue) << Int(KILN_LABEL_ACTIVITY_SHIFT) | (activity == KILN_ACTIVITY_LOOP ? 0 : 17 << Int(KILN_LABEL_ROW_SHIFT))
    }

    private struct Stack {
        var activity: kiln_activity
        /// Behind main and the event loop.
        var frames: [UInt64]
        var inKernel = false
        var isWhole = true
        var weight: UInt64 = 1
    }

    private static let known = [
        Stack(activity: KILN_ACTIVITY_READ, frames: [receives, 50, 51], inKernel: true, weight: 20),
        Stack(activity: KILN_ACTIVITY_LOOP, frames: [waits, 60], inKernel: true, weight: 30),
        Stack(activity: KILN_ACTIVITY_REPLY, frames: [beforeSleep, 70, 71], inKernel: true, weight: 25),
    ]

    private static func frames(_ stack: Stack) -> StackFrames {
        StackFrames(
            kernel: stack.inKernel ? [entry + 5, entry] : [], user: ([10, 20] + stack.frames).reversed(), interrupted: [],
            termination: stack.isWhole ? .complete : .tooDeep)
    }

    /// The activities of stacks after the correction, in their order.
    private static func corrected(_ stacks: [Stack], beside known: [Stack] = known) -> [kiln_activity] {
        var table = StackTable()
        var hashes: [UInt64] = []
        for (index, stack) in (known + stacks).enumerated() {
            let key = StackTable.Key(hash: UInt64(index + 1), process: 0, label: label(stack.activity))
            hashes.append(key.hash)
            table.learn(key, frames(stack))
            table.weights[key] = stack.weight
        }
        let sum = table.weights.values.reduce(0, +)
        table.separateWorkOfEventLoops()
        #expect(table.weights.values.reduce(0, +) == sum)
        return hashes.suffix(stacks.count).compactMap { hash in
            table.weights.keys.first { $0.hash == hash }.map { kiln_activity(UInt32($0.label >> Int(KILN_LABEL_ACTIVITY_SHIFT) & 7)) }
        }
    }

    @Test func executionsAreCalledFromWhereReceivesAre() {
        let stacks = [
            Stack(activity: KILN_ACTIVITY_EXEC, frames: [Self.receives, 50, 52]), Stack(activity: KILN_ACTIVITY_EXEC, frames: [Self.timers, 80]),
            Stack(activity: KILN_ACTIVITY_EXEC, frames: [Self.beforeSleep, 72, 73], inKernel: true),
            // Its own event loop, inside of an execution.
            Stack(activity: KILN_ACTIVITY_EXEC, frames: [Self.receives, 50, 52, 20, Self.waits, 60], inKernel: true),
        ]
        #expect(Self.corrected(stacks) == [KILN_ACTIVITY_EXEC, KILN_ACTIVITY_LOOP, KILN_ACTIVITY_LOOP, KILN_ACTIVITY_EXEC])
    }

    @Test func whatComesBeforeASendElsewhereIsNoReply() {
        let stacks = [
            Stack(activity: KILN_ACTIVITY_REPLY, frames: [Self.beforeSleep, 70, 75]),
            // Commands that were blocked, in the same function as the sends.
            Stack(activity: KILN_ACTIVITY_REPLY, frames: [Self.beforeSleep, 76, 77]), Stack(activity: KILN_ACTIVITY_REPLY, frames: [Self.timers, 80]),
        ]
        #expect(Self.corrected(stacks) == [KILN_ACTIVITY_REPLY, KILN_ACTIVITY_LOOP, KILN_ACTIVITY_LOOP])
    }

    @Test func whereSendsAreCalledFromManyPlacesNoneIsLeftOut() {
        let known = Self.known + (0..<5).map { Stack(activity: KILN_ACTIVITY_REPLY, frames: [Self.beforeSleep, 90 + $0, 71], inKernel: true, weight: 5) }
        let stack = Stack(activity: KILN_ACTIVITY_REPLY, frames: [Self.beforeSleep, 76, 77])
        #expect(Self.corrected([stack], beside: known) == [KILN_ACTIVITY_REPLY])
    }

    @Test func waitsAreCorrectedLikewiseAndStayIdle() {
        var table = StackTable()
        for (index, stack) in Self.known.enumerated() {
            let key = StackTable.Key(hash: UInt64(index + 1), process: 0, label: Self.label(stack.activity))
            table.learn(key, Self.frames(stack))
            table.weights[key] = stack.weight
        }
        let timer = Self.frames(Stack(activity: KILN_ACTIVITY_EXEC, frames: [Self.timers, 80], inKernel: true))
        func key(_ label: Int) -> StackTable.Key { .init(hash: 9, process: 0, kind: .offCPU, label: label) }
        let loop = Self.label(KILN_ACTIVITY_LOOP), idle = Int(KILN_LABEL_IDLE)
        func times(_ ns: UInt64) -> WaitTimes {
            var times = WaitTimes()
            times.add(Nanoseconds(ns), in: .sleeping)
            times.ended = 1
            return times
        }
        table.learn(key(loop), timer)
        table.waits = [key(Self.label(KILN_ACTIVITY_EXEC)): times(5), key(loop): times(7), key(Self.label(KILN_ACTIVITY_EXEC) | idle): times(11)]
        table.separateWorkOfEventLoops()
        #expect(table.waits.mapValues(\.total.count) == [key(loop): 12, key(loop | idle): 11] && table.waits[key(loop)]?.ended == 2)
    }

    /// One stack may stand for a thousand events.
    @Test func eventsProveNothing() {
        var table = StackTable()
        for (index, stack) in Self.known.enumerated() {
            let key = StackTable.Key(hash: UInt64(index + 1), process: 0, kind: .event(0), label: Self.label(stack.activity))
            table.learn(key, Self.frames(stack))
            table.weights[key] = stack.weight
        }
        let key = StackTable.Key(hash: 9, process: 0, label: Self.label(KILN_ACTIVITY_EXEC))
        table.learn(key, Self.frames(Stack(activity: KILN_ACTIVITY_EXEC, frames: [Self.timers, 80])))
        table.weights[key] = 1
        table.separateWorkOfEventLoops()
        #expect(table.weights[key] == 1)
    }

    @Test func nothingChangesWithoutProof() {
        let timer = Stack(activity: KILN_ACTIVITY_EXEC, frames: [Self.timers, 80])
        let cut = Stack(activity: KILN_ACTIVITY_EXEC, frames: [Self.timers, 80], isWhole: false)
        #expect(Self.corrected([timer], beside: []) == [KILN_ACTIVITY_EXEC])
        #expect(Self.corrected([timer], beside: [Self.known[0]]) == [KILN_ACTIVITY_EXEC])
        #expect(Self.corrected([timer], beside: [Self.known[1]]) == [KILN_ACTIVITY_EXEC])
        #expect(Self.corrected([cut]) == [KILN_ACTIVITY_EXEC])
        // Too few receives to know all places that they are called from.
        var few = Self.known
        few[0].weight = 3
        #expect(Self.corrected([timer], beside: few) == [KILN_ACTIVITY_EXEC])
    }
}
