import SystemPackage

/// A file whose symbols or call frame information can't be read: the file, the problem, and the effect on frames.
public struct SymbolFileError: Error, Equatable, Sendable {
    public enum Problem: Equatable, Sendable {
        /// Opening or reading failed.
        case unreadable(Errno)
        case notRegularFile
        /// The file on disk is not the mapped one any more.
        case replaced
        /// The file was written to after the process mapped it.
        case overwritten
        /// A debug file with the right name, but of another build.
        case otherBuild(expected: String, found: String)
        /// Owned by another user, who can write anything into it.
        case foreign(owner: UInt32)
        case notELF
        /// The headers or tables are malformed; the text describes how.
        case broken(String)
        /// A valid file of a kind that kiln can't use; the text names the kind.
        case unsupported(String)
    }

    /// What was read from the file.
    public enum Content: Equatable, Sendable {
        case symbols
        /// .eh_frame or .debug_frame, the sources of unwind tables.
        case callFrameInformation
        /// A map of just-in-time compiled code.
        case generatedFunctions
    }

    public let file: String
    public let problem: Problem
    public let content: Content

    public init(file: String, problem: Problem, reading content: Content = .symbols) {
        self.file = file
        self.problem = problem
        self.content = content
    }
}

extension SymbolFileError: CustomStringConvertible {
    public var description: String {
        let (what, advice) =
            switch problem {
            case .unreadable(let errno):
                (errno.description, "Run as root, or grant CAP_SYS_PTRACE and CAP_SYS_ADMIN")
            case .notRegularFile:
                ("it is not a regular file", "Nothing to do: devices contain no code")
            case .replaced:
                ("the file on disk is not the one that the process has mapped", "Run as root, or restart the process")
            case .overwritten:
                (
                    "it was written to after the process mapped it",
                    "Restart the process, and replace libraries by new files (mv, install), not in place"
                )
            case .otherBuild(let expected, let found):
                ("it is of another build: \(found), not \(expected)", "Install the debug symbols of the running version")
            case .foreign(let owner):
                ("it belongs to user \(owner), which is neither root nor the user of the process", "Remove it")
            case .notELF:
                ("it is not an ELF file", "Nothing to do: only ELF files can be read")
            case .broken(let detail):
                ("broken ELF file: \(detail)", "Check the file with readelf -S, or reinstall it")
            case .unsupported(let detail):
                (detail, "Nothing to do")
            }
        return switch content {
        case .symbols:
            "cannot read the symbols of \(file): \(what). \(advice); its frames are shown as module+offset."
        case .callFrameInformation:
            "cannot read the call frame information of \(file): \(what). \(advice); stacks are followed through its code by frame pointers only."
        case .generatedFunctions:
            "cannot read the names of just-in-time compiled code in \(file): \(what). \(advice); its frames are shown as [unknown]."
        }
    }
}
