/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The few kernel structures that kiln reads, with only the fields that it reads. Offsets come from the running
 * kernel's BTF when the program is loaded (CO-RE), so neither BTF nor headers of the build host are needed. */
#ifndef KILN_KERNEL_TYPES_H
#define KILN_KERNEL_TYPES_H

typedef unsigned char __u8;
typedef signed char __s8;
typedef unsigned short __u16;
typedef short __s16;
typedef unsigned int __u32;
typedef int __s32;
typedef unsigned long long __u64;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
#define NULL ((void *)0)

/* linux/bpf.h: only what is used. */
enum { BPF_ANY = 0, BPF_NOEXIST = 1, BPF_EXIST = 2 };
enum {
	BPF_F_NO_PREALLOC = 1,
	BPF_SK_STORAGE_GET_F_CREATE = 1,
	BPF_RB_NO_WAKEUP = 1,
	BPF_RB_FORCE_WAKEUP = 2,
	BPF_RB_AVAIL_DATA = 0, /* of bpf_ringbuf_query() */
	BPF_F_MMAPABLE = 1 << 10,
	BPF_F_INNER_MAP = 1 << 12
};
enum { BPF_LOCAL_STORAGE_GET_F_CREATE = 1 };
enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_ARRAY_OF_MAPS = 12,
	BPF_MAP_TYPE_STACK = 23,
	BPF_MAP_TYPE_SK_STORAGE = 24,
	BPF_MAP_TYPE_RINGBUF = 27,
	BPF_MAP_TYPE_TASK_STORAGE = 29,
};

#define TASK_COMM_LEN 16

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct thread_info {
	__u32 status;
};

struct files_struct;

/* The page that the kernel maps into a process with probed functions. */
struct xol_area {
	unsigned long vaddr;
};

struct uprobes_state {
	struct xol_area *xol_area;
};

/* A call whose return is probed. */
struct return_instance {
	unsigned long stack;          /* where the return address stood */
	unsigned long orig_ret_vaddr; /* what stood there */
	struct return_instance *next; /* the call before */
};

/* Of a task that has met a probe. */
struct uprobe_task {
	struct return_instance *return_instances;
	unsigned int depth;      /* how many there are of those */
	unsigned long vaddr;     /* of the instruction whose copy runs */
	unsigned long xol_vaddr; /* of the copy; 0: none runs */
};

struct maple_tree {
	void *ma_root;
};

typedef struct {
	void *vdso; /* where it is mapped */
} mm_context_t;

struct mm_struct {
	struct maple_tree mm_mt;  /* its mappings; since Linux 6.1 */
	unsigned long start_code; /* 0: the program that is being executed has not been mapped yet */
	unsigned long start_stack;
	unsigned long arg_start; /* its arguments, one behind the other, each with a NUL */
	unsigned long arg_end;
	mm_context_t context;
	struct uprobes_state uprobes_state;
};

/* Changes whenever the mappings do: since Linux 6.4, and as it is since 6.13. */
struct mm_struct___6_4 {
	int mm_lock_seq;
};

typedef struct seqcount {
	unsigned int sequence;
} seqcount_t;

struct mm_struct___6_13 {
	seqcount_t mm_lock_seq;
};

struct kernfs_node {
	__u64 id;
};

struct cgroup;

struct cgroup_subsys_state {
	struct cgroup *cgroup;
	struct cgroup_subsys_state *parent;
};

struct cgroup {
	struct cgroup_subsys_state self;
	struct kernfs_node *kn;
};

struct css_set {
	struct cgroup *dfl_cgrp; /* of version 2 */
};

typedef struct {
	unsigned int val;
} kuid_t;

struct cred {
	kuid_t uid;
};

typedef struct {
	int counter;
} atomic_t;

typedef struct {
	unsigned long sig[1];
} sigset_t;

struct sigpending {
	sigset_t signal;
};

typedef void (*__sighandler_t)(int);

struct sigaction {
	__sighandler_t sa_handler;
};

struct k_sigaction {
	struct sigaction sa;
};

struct sighand_struct {
	struct k_sigaction action[64];
};

/* Of a process: all its threads share it. */
struct signal_struct {
	atomic_t live; /* threads that have not begun to exit */
	struct sigpending shared_pending;
	int group_exit_code;
	unsigned int flags;
};

/* A program that is about to begin. */
struct linux_binprm {
	int argc;
	const char *filename; /* what was asked for */
	const char *interp;   /* what runs it: the same but for scripts and their like */
};

struct sched_info {
	unsigned long long run_delay; /* ns in the run queue */
};

struct thread_struct {
	unsigned long fsbase; /* x86-64: where its thread-local variables lie, which is what pthread_self() returns */
};

struct task_struct {
	struct thread_info thread_info;
	unsigned int __state; /* since Linux 5.14 */
	void *stack;
	unsigned int flags;
	int on_cpu;
	int exit_code;
	int pid;
	int tgid;
	struct signal_struct *signal;
	struct sighand_struct *sighand;
	sigset_t blocked;
	struct sigpending pending;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	struct mm_struct *mm;
	unsigned long nvcsw;
	__u64 start_boottime;
	__u64 self_exec_id;   /* how often it and its forebears have executed a program */
	__u64 parent_exec_id; /* its parent's, when it was forked */
	char comm[TASK_COMM_LEN];
	struct sched_info sched_info;
	struct files_struct *files;
	struct cred *cred;
	struct css_set *cgroups;
	struct thread_struct thread;
	struct uprobe_task *utask; /* NULL: it has never met a probe */
};

struct cookie {
	__s64 counter;
};

struct in6_addr {
	__u8 in6_u[16];
};

struct sock_common {
	__u32 skc_daddr;
	__be16 skc_dport;
	unsigned short skc_family;
	struct in6_addr skc_v6_daddr;
	struct cookie skc_cookie;
};

struct socket;

struct sk_buff_head {
	__u32 qlen;
};

struct sock {
	struct sock_common __sk_common;
	struct sk_buff_head sk_receive_queue;
	__u16 sk_type;
	__u16 sk_protocol;
	__u32 sk_max_ack_backlog;
	__u8 sk_shutdown;
	struct socket *sk_socket;
	void *sk_bpf_storage;
};

struct tcp_sock {
	__u32 copied_seq;
	__u32 rcv_nxt;
	__u64 bytes_received;
	__u64 tcp_clock_cache; /* when it last began to send, handled a segment or was read */
	__u64 tcp_wstamp_ns;   /* when it last sent; later with pacing */
	struct {
		__u32 space; /* not 0 once the connection is established */
	} rcvq_space;
};

struct unix_sock {
	void *addr;
};

struct super_block {
	__u32 s_dev;
};

struct inode {
	__u16 i_mode;
	struct super_block *i_sb;
	unsigned long i_ino;
	__s64 i_size;
	__s64 i_mtime_sec; /* when it was last written to */
	__u32 i_mtime_nsec;
};

struct timespec64 {
	__s64 tv_sec;
	long tv_nsec;
};

/* As it was up to Linux 6.10, and up to 6.6. */
struct inode___6_10 {
	struct timespec64 __i_mtime;
};

struct inode___6_6 {
	struct timespec64 i_mtime;
};

struct socket {
	struct sock *sk;
};

struct socket_alloc {
	struct socket socket;
	struct inode vfs_inode;
};

struct file {
	struct inode *f_inode;
	void *private_data;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

/* x86-64; system calls leave their arguments in place until they return. */
struct pt_regs {
	unsigned long r15;
	unsigned long r14;
	unsigned long r13;
	unsigned long r12;
	unsigned long bp;
	unsigned long bx;
	unsigned long r11;
	unsigned long r10;
	unsigned long r9;
	unsigned long r8;
	unsigned long ax;
	unsigned long cx;
	unsigned long dx;
	unsigned long si;
	unsigned long di;
	unsigned long orig_ax;
	unsigned long ip;
	unsigned long cs; /* 2 bytes since Linux 6.9; the loader adapts the load */
	unsigned long sp;
};

struct bpf_perf_event_data;

struct bpf_iter__task {
	struct task_struct *task;
};

enum iter_type { ITER_UBUF, ITER_IOVEC }; /* their numbers differ between kernels: ask for them */

/* Where a message's bytes are; it moves on as they are taken. */
struct iov_iter {
	__u8 iter_type;
	unsigned long iov_offset; /* in the buffer, or in the first iovec */
	unsigned long count;      /* bytes that are left */
	const void *__iov;        /* in a union with the address of a single buffer (ITER_UBUF, Linux 6.0) */
};

struct vm_area_struct {
	unsigned long vm_start;
	unsigned long vm_end;
	unsigned long vm_flags;
	unsigned long vm_pgoff; /* in pages */
	struct file *vm_file;
};

/* As it was before Linux 6.4. */
struct iov_iter___6_3 {
	const void *iov;
};

struct msghdr {
	struct iov_iter msg_iter;
};

#pragma clang attribute pop

/* User-space ABI structures, fixed for ever: no relocation. */
struct bpf_raw_tracepoint_args {
	__u64 args[0];
};

struct iovec {
	__u64 base;
	__u64 length;
};

struct user_msghdr {
	__u64 name;
	__u64 name_length;
	__u64 iov;
	__u64 iov_count;
};

#endif
