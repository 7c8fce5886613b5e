import KilnModel
import Testing

/// Who ends a session.
struct SessionBoundTests {
    @Test func aSessionThatNobodySeesAndNoCommandEndsIsBound() {
        #expect(SessionBound.seconds(duration: nil, hasCommand: false, hasTerminal: false) == 300)
    }

    @Test func aTerminalOrACommandLetsItRun() {
        for (hasCommand, hasTerminal) in [(false, true), (true, false), (true, true)] {
            #expect(SessionBound.seconds(duration: nil, hasCommand: hasCommand, hasTerminal: hasTerminal) == nil)
        }
    }

    @Test func whatWasAskedForHoldsInAnyCase() {
        for hasCommand in [false, true] {
            for hasTerminal in [false, true] {
                #expect(SessionBound.seconds(duration: 7000, hasCommand: hasCommand, hasTerminal: hasTerminal) == 7000)
            }
        }
    }
}
