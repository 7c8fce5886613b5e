#ifndef UNWINDHOST_BPF_HOST_H
#define UNWINDHOST_BPF_HOST_H

#include <linux/types.h>
#include <stdlib.h>
#include <string.h>

// What the unwinder takes from BPF, for user space.
#undef __always_inline
#define __always_inline inline __attribute__((always_inline))
#define __noinline static __attribute__((noinline))
#define barrier_var(variable) __asm__ volatile("" : "+r"(variable))
#define SEC(name)
#define __uint(name, value) int(*name)[value]
#define __type(name, value) __typeof__(value) *name
#define __array(name, value) __typeof__(value) *name[]

enum {
	BPF_MAP_TYPE_ARRAY,
	BPF_MAP_TYPE_HASH,
	BPF_MAP_TYPE_PERCPU_ARRAY,
	BPF_MAP_TYPE_ARRAY_OF_MAPS,
	BPF_F_MMAPABLE = 1,
	BPF_F_INNER_MAP = 2
};

// The fields of the kernel's that the unwinder reads.
struct pt_regs {
	unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, cs, sp;
};

struct xol_area {
	unsigned long vaddr;
};

struct mm_struct {
	struct {
		void *ma_root;
	} mm_mt;
	struct {
		void *vdso;
	} context;
	struct {
		struct xol_area *xol_area;
	} uprobes_state;
	unsigned long start_code, start_stack;
};

// The host's mappings never change.
struct mm_struct___6_4 {
	int mm_lock_seq;
};

struct mm_struct___6_13 {
	struct {
		unsigned int sequence;
	} mm_lock_seq;
};

// Never met: the host's tree of mappings is empty, and the code of processes is what is given.
struct super_block {
	__u32 s_dev;
};

struct inode {
	unsigned long i_ino;
	struct super_block *i_sb;
	__s64 i_size, i_mtime_sec;
	__u32 i_mtime_nsec;
};

struct inode___6_6 {
	struct {
		__s64 tv_sec, tv_nsec;
	} i_mtime;
};

struct inode___6_10 {
	struct {
		__s64 tv_sec, tv_nsec;
	} __i_mtime;
};

struct file {
	struct inode *f_inode;
};

struct vm_area_struct {
	unsigned long vm_start, vm_end, vm_flags, vm_pgoff;
	struct file *vm_file;
};

struct return_instance {
	unsigned long stack, orig_ret_vaddr;
	struct return_instance *next;
};

struct uprobe_task {
	struct return_instance *return_instances;
	unsigned long vaddr, xol_vaddr;
};

struct task_struct {
	int tgid;
	struct mm_struct *mm;
	struct uprobe_task *utask;
};

#define bpf_core_field_exists(field) true
#define bpf_core_read(to, size, from) memcpy(to, from, size)
#define bpf_probe_read_kernel(to, size, from) (memcpy(to, from, size), 0L)

static inline __u64 bpf_ktime_get_ns(void)
{
	return 0;
}

static void *bpf_map_lookup_elem(void *map, const void *key);
static long bpf_probe_read_user(void *to, __u32 size, const void *from);
static const struct pt_regs *bpf_task_pt_regs(const void *task);

#define bpf_loop(count, callback, context, flags) \
	do { \
		for (__u32 index = 0; index < (count) && index < turns_left() && !(callback)(index, context); index++) \
			; \
	} while (0)

static __u32 turns_left(void);

#endif
