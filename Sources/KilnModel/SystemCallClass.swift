/// A class of system calls: what they are about. A call may be in several; the calls of all tables with these names are.
public enum SystemCallClass: String, CaseIterable, Sendable {
    /// Calls that take the name of a file.
    case file
    /// Calls that read, write or change what a descriptor stands for.
    case descriptor
    case network
    case memory
    /// Start, end and wait of processes and threads, and who they are.
    case process
    case signal
    /// System V and POSIX objects of communication, pipes and futexes.
    case ipc
    /// Clocks, timers and sleep.
    case time
    /// Waits for events: poll and its kin.
    case poll
    /// CPUs, priorities and the scheduler.
    case scheduler

    /// Names of calls, separated by blanks.
    private var names: String {
        switch self {
        case .file:
            """
            open openat openat2 creat access faccessat faccessat2 stat lstat stat64 lstat64 oldstat oldlstat newfstatat fstatat64 statx statfs \
            statfs64 readlink readlinkat link linkat symlink symlinkat unlink unlinkat rename renameat renameat2 mkdir mkdirat rmdir mknod mknodat chdir \
            chroot chmod fchmodat fchmodat2 chown chown32 lchown lchown32 fchownat truncate truncate64 utime utimes utimensat utimensat_time64 futimesat \
            execve execveat mount umount umount2 pivot_root open_tree move_mount fsopen fspick mount_setattr swapon swapoff acct uselib quotactl getcwd \
            inotify_add_watch fanotify_mark name_to_handle_at open_by_handle_at getxattr lgetxattr setxattr lsetxattr listxattr llistxattr removexattr \
            lremovexattr getxattrat setxattrat listxattrat removexattrat statmount listmount file_getattr file_setattr open_tree_attr
            """
        case .descriptor:
            """
            read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 close close_range dup dup2 dup3 fcntl fcntl64 ioctl lseek _llseek \
            fsync fdatasync sync_file_range syncfs ftruncate ftruncate64 fallocate fadvise64 fadvise64_64 readahead flock getdents getdents64 readdir fstat \
            fstat64 oldfstat fstatfs fstatfs64 fchmod fchown fchown32 fchdir sendfile sendfile64 splice tee vmsplice copy_file_range pipe pipe2 eventfd \
            eventfd2 signalfd signalfd4 timerfd_create memfd_create inotify_init inotify_init1 inotify_rm_watch fanotify_init epoll_create epoll_create1 \
            epoll_ctl io_setup io_destroy io_submit io_cancel io_uring_setup io_uring_enter io_uring_register fgetxattr fsetxattr flistxattr fremovexattr \
            pidfd_getfd fsconfig fsmount userfaultfd bpf perf_event_open cachestat
            """
        case .network:
            """
            socket socketpair bind listen accept accept4 connect getsockname getpeername getsockopt setsockopt shutdown send sendto sendmsg sendmmsg recv \
            recvfrom recvmsg recvmmsg recvmmsg_time64 socketcall sethostname setdomainname
            """
        case .memory:
            """
            brk mmap mmap2 munmap mremap mprotect pkey_mprotect pkey_alloc pkey_free madvise process_madvise msync mincore mlock mlock2 munlock mlockall \
            munlockall remap_file_pages mbind migrate_pages move_pages get_mempolicy set_mempolicy set_mempolicy_home_node memfd_create memfd_secret \
            membarrier userfaultfd process_vm_readv process_vm_writev process_mrelease shmat shmdt mseal map_shadow_stack
            """
        case .process:
            """
            clone clone2 clone3 fork vfork execve execveat exit exit_group wait4 waitid waitpid kcmp getpid getppid gettid getpgid getpgrp setpgid getsid \
            setsid getuid getuid32 geteuid geteuid32 getgid getgid32 getegid getegid32 setuid setuid32 setgid setgid32 setreuid setreuid32 setregid \
            setregid32 setresuid setresuid32 setresgid setresgid32 getresuid getresuid32 getresgid getresgid32 getgroups getgroups32 setgroups setgroups32 \
            setfsuid setfsuid32 setfsgid setfsgid32 capget capset prctl arch_prctl ptrace unshare setns set_tid_address set_robust_list get_robust_list \
            pidfd_open pidfd_send_signal pidfd_getfd getrlimit setrlimit prlimit64 ugetrlimit getrusage times personality seccomp rseq landlock_create_ruleset \
            landlock_add_rule landlock_restrict_self
            """
        case .signal:
            """
            kill tkill tgkill rt_sigaction rt_sigprocmask rt_sigpending rt_sigtimedwait rt_sigtimedwait_time64 rt_sigqueueinfo rt_tgsigqueueinfo \
            rt_sigsuspend rt_sigreturn sigaltstack pause signalfd signalfd4 signal sigaction sigprocmask sigpending sigsuspend sigreturn sgetmask ssetmask \
            pidfd_send_signal alarm setitimer
            """
        case .ipc:
            """
            shmget shmat shmctl shmdt semget semop semtimedop semtimedop_time64 semctl msgget msgsnd msgrcv msgctl ipc mq_open mq_unlink mq_timedsend \
            mq_timedsend_time64 mq_timedreceive mq_timedreceive_time64 mq_notify mq_getsetattr pipe pipe2 futex futex_time64 futex_waitv futex_wake futex_wait \
            futex_requeue eventfd eventfd2
            """
        case .time:
            """
            time stime gettimeofday settimeofday clock_gettime clock_gettime64 clock_settime clock_settime64 clock_getres clock_getres_time64 clock_nanosleep \
            clock_nanosleep_time64 clock_adjtime clock_adjtime64 adjtimex nanosleep alarm getitimer setitimer timer_create timer_settime timer_settime64 \
            timer_gettime timer_gettime64 timer_getoverrun timer_delete timerfd_create timerfd_settime timerfd_settime64 timerfd_gettime timerfd_gettime64 \
            times
            """
        case .poll:
            """
            poll ppoll ppoll_time64 select _newselect pselect6 pselect6_time64 epoll_wait epoll_pwait epoll_pwait2 epoll_wait_old epoll_ctl epoll_ctl_old \
            epoll_create epoll_create1 io_getevents io_pgetevents io_pgetevents_time64 io_uring_enter
            """
        case .scheduler:
            """
            sched_yield sched_setscheduler sched_getscheduler sched_setparam sched_getparam sched_setattr sched_getattr sched_setaffinity sched_getaffinity \
            sched_get_priority_max sched_get_priority_min sched_rr_get_interval sched_rr_get_interval_time64 getpriority setpriority nice getcpu ioprio_get \
            ioprio_set
            """
        }
    }

    public var calls: [SystemCall] {
        let names = Set(names.split(separator: " ").map(String.init))
        return SystemCall.named.filter { names.contains($0.name) }
    }
}
