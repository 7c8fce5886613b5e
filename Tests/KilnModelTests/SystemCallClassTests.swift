import KilnModel
import Testing

/// Which system calls are in which class.
struct SystemCallClassTests {
    /// Calls that are about nothing that has a class: modules and other parts of the kernel, keys, segments, and what no kernel has any more.
    private static let unclassified = Set(
        """
        _sysctl add_key afs_syscall bdflush break create_module delete_module finit_module ftime get_kernel_syms get_thread_area getpmsg getrandom gtty \
        idle init_module ioperm iopl kexec_file_load kexec_load keyctl lock lookup_dcookie modify_ldt mpx nfsservctl oldolduname olduname prof profil \
        putpmsg query_module quotactl_fd reboot request_key restart_syscall security set_thread_area stty sync sysfs sysinfo syslog tuxcall ulimit umask \
        uname ustat vhangup vm86 vm86old vserver
        """.split(separator: " ").map(String.init))

    /// Names come from the headers that kiln is built with: those of a newer kernel may bring calls that have to go into a class, or among these.
    @Test func allOtherCallsBelongToAClass() {
        let classified = Set(SystemCallClass.allCases.flatMap(\.calls).map(\.name)), named = Set(SystemCall.named.map(\.name))
        #expect(named.subtracting(classified).subtracting(Self.unclassified) == [])
        #expect(classified.intersection(Self.unclassified) == [])
    }

    @Test func everyClassHasCallsOfEveryTable() {
        for kind in SystemCallClass.allCases { #expect(Set(kind.calls.map(\.table)) == Set(SystemCall.Table.allCases), "\(kind)") }
    }
}
