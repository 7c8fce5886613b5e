import Glibc
import SystemPackage

/// The way from a file's bytes to the addresses that it was linked for, which `nm` and debug information use.
public struct LinkedAddresses: Sendable {
    private let segments: LoadableSegments

    /// Reads the program headers of an ELF file.
    public init(of path: FilePath) throws {
        let file = try OpenFile(at: FileDescriptor(rawValue: AT_FDCWD), path.string)
        segments = try LoadableSegments(reading: file.descriptor, named: path.string)
    }

    /// Nil outside the parts that are loaded.
    public func address(ofFileOffset offset: UInt64) -> UInt64? { segments.address(ofFileOffset: offset) }
}
