import Glibc
import SystemPackage

/// The address ranges of kernel modules, from the text of /proc/modules (proc(5)): lines of `name size references users state address`,
/// with a hexadecimal address.
///
/// The size is that of all of a module's memory, and the address is where its code starts. So a range may be too long, but never too short;
/// it ends at the latest where the next module starts.
struct KernelModules {
    struct Place {
        let start, end: UInt64
        /// In brackets, as in kallsyms.
        let name: String
    }

    private let places: [Place]

    init(parsing text: [UInt8]) {
        var places: [Place] = []
        for line in String(decoding: text, as: UTF8.self).split(separator: "\n") {
            let fields = line.split(separator: " ")
            // Addresses are zero if the kernel hides them.
            guard fields.count >= 6, let size = UInt64(fields[1]), fields[5].hasPrefix("0x"),
                let start = UInt64(fields[5].dropFirst(2), radix: 16), start > 0
            else { continue }
            places.append(Place(start: start, end: start.saturatingAdd(size), name: "[\(fields[0])]"))
        }
        self.places = places.sorted { $0.start < $1.start }
    }

    /// The running kernel's modules; empty if it has none or hides them.
    init(readingFrom path: FilePath = "/proc/modules") {
        var text: [UInt8] = []
        if let file = try? FileDescriptor.open(path, .readOnly, options: .closeOnExec) {
            text = (try? file.readToEnd()) ?? []
            try? file.close()
        }
        self.init(parsing: text)
    }

    func place(of address: UInt64) -> Place? {
        guard let index = places.lastIndex(startingAtOrBelow: address, start: \.start), address < places[index].end else { return nil }
        return places[index]
    }
}
