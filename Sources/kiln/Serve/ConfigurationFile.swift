import Glibc
import PrintableText
import SystemPackage

/// A configuration file: options under their long names, as TOML.
///
///     port = [6379, 6380]
///     no-syscalls = true
///     max-cost = 3
///
/// A string, a number or an array of them is what stands behind an option, `true` gives a flag, and `false` leaves it out.
struct ConfigurationFile {
    /// An option that the file gives.
    struct Setting {
        /// The option's first long name, without hyphens.
        var name: String
        var place: TextPlace
        var values: [Value]

        /// What it is on the command line, and where the file has it.
        struct Value {
            var arguments: [String]
            var place: TextPlace
        }
    }

    static let sizeLimit = 65_536

    let path: String
    /// In the order of the file. Each option is there once.
    let settings: [Setting]

    /// Reads a file. Throws a `Failure` of one line.
    init(path: String, options: OptionCatalog) throws { try self.init(try Self.bytes(of: path), path: path, options: options) }

    /// - Parameter path: For errors, which begin with `PATH:LINE:COLUMN: `.
    init(_ bytes: [UInt8], path: String, options: OptionCatalog) throws {
        self.path = path
        do {
            var settings: [Setting] = []
            for entry in try TOMLDocument(bytes).entries {
                let setting = try Self.setting(of: entry, options)
                // TOML refuses a key that is there twice; two names of an option are different keys.
                if let earlier = settings.first(where: { $0.name == setting.name }) {
                    throw TextFault(place: setting.place, reason: "'\(entry.key)' is another name of the option in line \(earlier.place.line): give one.")
                }
                settings.append(setting)
            }
            self.settings = settings
        } catch let fault as TextFault {
            throw Self.failure(fault, in: path)
        }
    }

    static func failure(_ fault: TextFault, in path: String) -> Failure {
        Failure("\(path.printable):\(fault.place.line):\(fault.place.column): \(fault.reason.printable)", status: EX_USAGE)
    }

    private static func setting(of entry: TOMLDocument.Entry, _ options: OptionCatalog) throws -> Setting {
        let key = entry.key
        if ["config", "help", "version"].contains(key) {
            throw TextFault(place: entry.keyPlace, reason: "'\(key)' can't stand in a configuration file: give it on the command line.")
        }
        guard let option = options[key], option.isShown else {
            if entry.elements.contains(where: { $0.scalar == .nested }), !entry.isArray {
                throw TextFault(place: entry.keyPlace, reason: "'\(key)' is a table: write options at the top of the file, as NAME = VALUE.")
            }
            let near = nearNames(to: key, among: options.options.filter(\.isShown).map(\.name))
            throw TextFault(
                place: entry.keyPlace, reason: "no option is named '\(key)'.\(near.isEmpty ? "" : " Similar: \(near.joined(separator: ", ")).")")
        }
        var values: [Setting.Value] = []
        if option.isFlag {
            guard !entry.isArray, case .boolean(let isOn)? = entry.elements.first?.scalar else {
                throw TextFault(place: entry.elements.first?.place ?? entry.keyPlace, reason: "\(key) takes no value: write true or false.")
            }
            if isOn { values = [Setting.Value(arguments: ["--" + option.name], place: entry.keyPlace)] }
        } else {
            guard option.repeats || !entry.isArray else {
                throw TextFault(place: entry.keyPlace, reason: "\(key) takes one value, not an array.")
            }
            values = try entry.elements.map { Setting.Value(arguments: try arguments($0, of: key, option), place: $0.place) }
        }
        return Setting(name: option.name, place: entry.keyPlace, values: values)
    }

    /// A value as the command line has it. One that begins with a hyphen has to stand behind `=`, and an empty one can't stand there.
    private static func arguments(_ element: TOMLDocument.Element, of key: String, _ option: OptionCatalog.Option) throws -> [String] {
        let text = try text(element, of: key, option)
        return text.isEmpty ? ["--" + option.name, text] : ["--\(option.name)=\(text)"]
    }

    private static func text(_ element: TOMLDocument.Element, of key: String, _ option: OptionCatalog.Option) throws -> String {
        let wanted = option.repeats ? "a string or a number, or an array of them" : "a string or a number"
        func fault(_ what: String) -> TextFault { TextFault(place: element.place, reason: "\(key) takes \(wanted), not \(what).") }
        switch element.scalar {
        case .string(let text):
            // An argument ends there.
            if text.utf8.contains(0) { throw TextFault(place: element.place, reason: "\(key) takes no text with a zero byte.") }
            return text
        case .integer(let number): return String(number)
        case .number(let number):
            guard number.isFinite else { throw fault("\(number)") }
            return Int64(exactly: number).map { "\($0)" } ?? "\(number)"
        case .boolean(let isOn): throw fault("\(isOn)")
        case .time: throw fault("a date or a time; quote it if it is meant as text")
        case .nested: throw fault("a table or an array of arrays")
        }
    }

    /// The file's bytes. It has to be a regular file: the end of a pipe may never come, nor its opening.
    private static func bytes(of path: String) throws -> [UInt8] {
        func failure(_ reason: String) -> Failure {
            Failure("cannot read the configuration file \(path.printable): \(reason). Give a file of TOML with --config.", status: EX_USAGE)
        }
        let opened = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
        guard opened >= 0 else { throw failure(errorText(errno)) }
        let file = FileDescriptor(rawValue: opened)
        do {
            return try file.closeAfter {
                var status = stat()
                guard fstat(opened, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { throw failure("it is not a regular file") }
                var bytes: [UInt8] = []
                // The size that fstat() tells is zero for files that the kernel makes as they are read.
                try withUnsafeTemporaryAllocation(byteCount: sizeLimit + 1, alignment: 16) { room in
                    while bytes.count <= sizeLimit {
                        let length = try file.read(into: room)
                        if length == 0 { return }
                        bytes += room[..<length]
                    }
                    throw failure("it is longer than \(sizeLimit) bytes")
                }
                return bytes
            }
        } catch let error as Errno {
            throw failure("\(error)")
        }
    }
}
