import Glibc

/// The names of the host's users. Not by getpwuid(), which loads libraries of nsswitch.conf, which a static program can't.
struct UserNames {
    private var names: [UInt32: String] = [:]

    init() {
        guard let users = fopen("/etc/passwd", "re") else { return }
        defer { fclose(users) }
        while let entry = fgetpwent(users) {
            // The first of several names of a user, as getpwuid() has it.
            let user = entry.pointee.pw_uid
            if names[user] == nil { names[user] = String(cString: entry.pointee.pw_name) }
        }
    }

    subscript(_ user: UInt32) -> String? { names[user] }
}
