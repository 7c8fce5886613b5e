import Testing

@testable import KilnModel

struct StackTableTests {
    /// Whether the code at address 1 was replaced.
    private static func isMeant(_ process: Int, _ frames: StackFrames) -> Bool { process == 0 && frames.user.contains(1) }

    private static func frames(_ user: UInt64...) -> StackFrames { StackFrames(kernel: [], user: user, interrupted: [], termination: .complete) }

    @Test func weightsFromBeforeAComparisonAreStacksOfTheirOwn() {
        let through = StackTable.Key(hash: 7, process: 0), beside = StackTable.Key(hash: 8, process: 0), other = StackTable.Key(hash: 7, process: 1)
        var table = StackTable()
        table.learn(through, Self.frames(1, 2))
        table.learn(beside, Self.frames(3, 2))
        table.learn(other, Self.frames(1, 2))
        func add(_ weight: UInt64) { for key in [through, beside, other] { table.weights[key, default: 0] += weight } }
        add(10)
        table.settle(before: 3, Self.isMeant)
        add(5)
        table.settle(before: 4, Self.isMeant)
        // Nothing happened in between.
        table.settle(before: 6, Self.isMeant)
        add(2)
        func weights(_ process: Int, _ user: [UInt64]) -> [UInt64?: UInt64] {
            let stacks = table.settled().stacks(of: .onCPU).filter { $0.key.process == process && $0.frames.user == user }
            return Dictionary(uniqueKeysWithValues: stacks.map { ($0.frames.comparison, $0.weight) })
        }
        #expect(weights(0, [1, 2]) == [3: 10, 4: 5, nil: 2])
        #expect(weights(0, [3, 2]) == [nil: 17] && weights(1, [1, 2]) == [nil: 17])
        #expect(table.weights(of: .onCPU) == [0: 34, 1: 17] && table.settled().weights(of: .onCPU) == [0: 34, 1: 17])
    }

    @Test func timeFromBeforeAComparisonIsThatOfAStackOfItsOwn() {
        let key = StackTable.Key(hash: 7, process: 0, kind: .offCPU)
        var table = StackTable(), times = WaitTimes()
        table.learn(key, Self.frames(1))
        times.add(Nanoseconds(100), in: .sleeping)
        times.ended = 2
        table.waits[key] = times
        table.settle(before: 1, Self.isMeant)
        times.add(Nanoseconds(40), in: .sleeping)
        times.add(Nanoseconds(7), in: .runnable)
        times.ended = 3
        table.waits[key] = times
        let parts = table.settled().waitingStacks
        let former = parts.first { $0.frames.comparison == 1 }?.times, last = parts.first { $0.frames.comparison == nil }?.times
        #expect(parts.count == 2)
        #expect(former?.times[.sleeping] == Nanoseconds(100) && former?.ended == 2)
        #expect(last?.times[.sleeping] == Nanoseconds(40) && last?.times[.runnable] == Nanoseconds(7) && last?.ended == 1)
    }
}
