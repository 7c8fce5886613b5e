import Testing

@testable import KilnProfiles

@Suite struct FunctionNameTests {
    @Test(
        arguments: [
            ("main", "main", FunctionName.Kind.native, nil, nil),
            ("vfs_read_[k]", "vfs_read", .kernel, nil, nil),
            ("lookup (dict.c:12)", "lookup", .native, "dict.c", 12),
            ("lookup (dict.c:12)_[i]", "lookup", .inlined, "dict.c", 12),
            ("f (a.c:1) [guess]", "f [guess]", .native, "a.c", 1),
            ("f [guess]", "f [guess]", .native, nil, nil),
            // The place is a part of a Python function's name.
            ("py:f (app.py:12)", "py:f (app.py:12)", .native, nil, nil),
            ("operator()(int)", "operator()(int)", .native, nil, nil),
            ("redis-server+0x64da0", "redis-server+0x64da0", .native, nil, nil),
            ("(a:1)", "(a:1)", .native, nil, nil),
            (" (a:1)", " (a:1)", .native, nil, nil),
            ("f (:1)", "f (:1)", .native, nil, nil),
            ("f (a:-1)", "f (a:-1)", .native, nil, nil),
            ("_[k]", "_[k]", .native, nil, nil),
        ] as [(String, String, FunctionName.Kind, String?, Int64?)])
    func aFoldedFrameHasItsParts(folded: String, name: String, kind: FunctionName.Kind, file: String?, line: Int64?) {
        let function = FunctionName(folded: folded)
        #expect(function.name == name && function.kind == kind && function.file == file && function.line == line)
        #expect(function.folded(withPlace: true) == folded)
    }
}
