import Glibc
import SystemPackage

/// Converts file offsets to linked addresses, which `nm` and debugging information use.
public struct LinkedAddresses: Sendable {
    private let segments: LoadableSegments

    /// Reads the program headers of an ELF file.
    public init(of path: FilePath) throws {
        let file = try OpenFile(at: FileDescriptor(rawValue: AT_FDCWD), path.string)
        segments = try LoadableSegments(reading: file.descriptor, named: path.string)
    }

    /// Nil outside the loadable segments.
    public func address(ofFileOffset offset: UInt64) -> UInt64? { segments.address(ofFileOffset: offset) }
}
