import Glibc
import KilnHosts
import KilnModel
import SystemPackage

/// The directory here that a session on another host fills.
final class HostDirectory: @unchecked Sendable {
    let path: String
    private let place: SessionPlace
    private let files: ReceivedDirectory

    /// Makes it: `output`, or `kiln-HOST-TIME`; for several hosts `output/HOST`.
    init(of host: HostName, at output: String?, isOneOfSeveral: Bool, started: WallTime) throws {
        let asked = output.map { isOneOfSeveral ? "\($0)/\(host.short)" : $0 }
        place = try SessionPlace(asked, target: host.short, started: started)
        path = "\(place.path)"
        do {
            files = ReceivedDirectory(root: try FileDescriptor.open(place.path, .readOnly, options: [.directory, .closeOnExec]))
        } catch let error as Errno {
            place.remove()
            throw Failure("cannot use \(path): \(error). Give a directory that can be written with --output.")
        }
    }

    func append(_ bytes: [UInt8], to file: String) throws { try writing { try files.append(bytes, to: file) } }

    func replace(_ file: String, _ bytes: [UInt8], isLast: Bool) throws { try writing { try files.replace(file, bytes, isLast: isLast) } }

    private func writing(_ body: () throws -> Void) throws {
        do { try body() } catch let error as Errno {
            throw Failure(
                "cannot write \(path): \(error). Free space there, or give another directory with --output. Files that were written before are complete.")
        }
    }

    /// Removes what is half, and the directory if nothing has come.
    func finish() {
        files.discardPartial()
        if files.received.isEmpty { place.remove() }
    }

    /// Its path, if files have come.
    var written: String? { files.received.isEmpty ? nil : path }

    /// For the line that says that the connection was lost.
    var whatArrived: String {
        let received = files.received
        guard !received.isEmpty else { return " Nothing had arrived." }
        return " \(path)/ has what had arrived: " + received.map { "\($0.name) (\(grouped(UInt64($0.size))) bytes)" }.joined(separator: ", ")
    }
}
