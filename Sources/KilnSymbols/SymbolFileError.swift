import SystemPackage

/// A file whose symbols or call frame information cannot be read: which one, what is wrong with it,
/// what becomes of its frames.
public struct SymbolFileError: Error, Equatable, Sendable {
    public enum Problem: Equatable, Sendable {
        /// Opening or reading failed.
        case unreadable(Errno)
        case notRegularFile
        /// On disk lies another file by now than the one that is mapped.
        case replaced
        /// A debug file that lies in the right place, but is of another build; says what was to be found there.
        case otherBuild(expected: String, found: String)
        /// Somebody else's, who may write there what he likes.
        case foreign(owner: UInt32)
        case notELF
        /// The headers or tables contradict themselves; says which and how.
        case broken(String)
        /// A sound file of a kind that kiln can't use; says which.
        case unsupported(String)
    }

    /// What was to be read from the file.
    public enum Content: Equatable, Sendable {
        case symbols
        /// .eh_frame or .debug_frame, of which unwind tables are made.
        case callFrameInformation
        /// A compiler's map of the code that it made just in time.
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
                ("it is not a regular file", "Nothing to do: devices hold no code")
            case .replaced:
                ("the file on disk is not the one that the process has mapped", "Run as root, or restart the process")
            case .otherBuild(let expected, let found):
                ("it is of another build: \(found), not \(expected)", "Install the debug symbols of the running version")
            case .foreign(let owner):
                ("it belongs to user \(owner), who runs neither the process nor this system", "Remove it")
            case .notELF:
                ("it is not an ELF file", "Nothing to do: only ELF files can be read")
            case .broken(let detail):
                ("broken ELF file: \(detail)", "Check the file with readelf -S, or install it anew")
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
