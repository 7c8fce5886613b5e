/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What the kernel itself says of an address in the process: which file's code lies there. Part of unwind.bpf.h.
 *
 * For code that user space hasn't read the mappings of yet: of a process that has just executed a program, of a library loaded a moment
 * before. Most files have been met in other processes, and their tables are here already. And for code that may have been replaced since
 * user space has read the mappings.
 *
 * bpf_find_vma() can be called once an interrupt, because it takes a lock and lets go of it afterwards. The tree of mappings is read here
 * without one: what it says is held against the mapping itself. Linux 6.1 and later. */
#ifndef KILN_MAPPED_CODE_BPF_H
#define KILN_MAPPED_CODE_BPF_H

#include "common/bpf.h"
#include "stacks/unwinding.bpf.h"
#include "stacks/user_memory.bpf.h"

#define MAPPINGS_TREE_LEVELS 6 /* 16 children a node: far more than a process can map */
#define VM_EXEC 4

/* Key: a piece of a file; value: its table. Written by user space when it first meets the piece, and constant from then on. Full: code is
 * followed when the mappings of its process are known. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, KILN_CODE_PIECES);
	__type(key, struct kiln_code_piece);
	__type(value, struct kiln_known_code);
} known_code SEC(".maps");

/* A node of a maple tree (linux/maple_tree.h): its parent, the highest index of each child but the last, the children. */
enum { MAPLE_LEAF = 1, MAPLE_RANGE = 2, MAPLE_GAPS = 3 }; /* enum maple_type */
#define MAPLE_TYPE(entry) ((entry) >> 3 & 15)
#define MAPLE_NODE(entry) ((entry) & ~255ULL)
#define MAPLE_IS_ROOT_NODE(entry) (((entry)&3) == 2 && (entry) > 4096)
#define MAPLE_PIVOTS 15 /* of a leaf and of a range */
#define MAPLE_GAPS_PIVOTS 9

/* The mapping that the tree has for an address; it may have changed meanwhile. NULL: none. */
static __always_inline struct vm_area_struct *look_up_mapping(struct unwinding *u, struct mm_struct *mm, __u64 address)
{
	__u64 entry = 0, pivot;
	__u32 level, i, pivots, type;

	bpf_core_read(&entry, sizeof entry, &mm->mm_mt.ma_root);
	if (!MAPLE_IS_ROOT_NODE(entry))
		return NULL;
	for (level = 0; level < MAPPINGS_TREE_LEVELS; level++) {
		type = MAPLE_TYPE(entry);
		if (type < MAPLE_LEAF || type > MAPLE_GAPS || bpf_probe_read_kernel(u->node, sizeof u->node, (void *)MAPLE_NODE(entry)))
			return NULL;
		pivots = type == MAPLE_GAPS ? MAPLE_GAPS_PIVOTS : MAPLE_PIVOTS;
		for (i = 0; i < MAPLE_PIVOTS; i++) {
			pivot = u->node[1 + i];
			if (i >= pivots || !pivot || pivot >= address) /* 0: the last child has no highest index of its own */
				break;
		}
		entry = u->node[(1 + pivots + i) & (MAPLE_WORDS - 1)];
		if (type == MAPLE_LEAF)
			return (struct vm_area_struct *)entry;
	}
	return NULL;
}

static __always_inline void describe_file(struct inode *inode, struct kiln_code_piece *piece)
{
	struct inode___6_6 *older = (void *)inode;
	struct inode___6_10 *old = (void *)inode;
	struct super_block *super = NULL;

	bpf_core_read(&piece->inode, sizeof piece->inode, &inode->i_ino);
	bpf_core_read(&piece->size, sizeof piece->size, &inode->i_size);
	bpf_core_read(&super, sizeof super, &inode->i_sb);
	bpf_core_read(&piece->device, sizeof piece->device, &super->s_dev);
	if (bpf_core_field_exists(inode->i_mtime_sec)) {
		bpf_core_read(&piece->modified_s, sizeof piece->modified_s, &inode->i_mtime_sec);
		bpf_core_read(&piece->modified_ns, sizeof piece->modified_ns, &inode->i_mtime_nsec);
	} else if (bpf_core_field_exists(old->__i_mtime)) {
		bpf_core_read(&piece->modified_s, sizeof piece->modified_s, &old->__i_mtime.tv_sec);
		bpf_core_read(&piece->modified_ns, sizeof piece->modified_ns, &old->__i_mtime.tv_nsec);
	} else {
		bpf_core_read(&piece->modified_s, sizeof piece->modified_s, &older->i_mtime.tv_sec);
		bpf_core_read(&piece->modified_ns, sizeof piece->modified_ns, &older->i_mtime.tv_nsec);
	}
}

/* Stands for the mappings of a process as they are now: another number once any of them has changed, and in another process. The kernel's
 * own number is that of changes, of any kind. Older kernels have none: all mappings are then looked at for each stack. */
static __always_inline __u64 mappings_now(const struct task_struct *task, struct mm_struct *mm)
{
	struct mm_struct___6_13 *newer = (void *)mm;
	struct mm_struct___6_4 *older = (void *)mm;
	__u64 process = mm->start_stack ^ (__u64)task->tgid << 40;

	if (bpf_core_field_exists(newer->mm_lock_seq.sequence))
		return process ^ newer->mm_lock_seq.sequence;
	if (bpf_core_field_exists(older->mm_lock_seq))
		return process ^ (__u32)older->mm_lock_seq;
	return process ^ bpf_ktime_get_ns();
}

/* Sets unwinding.mapping to the code at an address. 0, or how the stack ends there. */
__noinline int find_code(struct unwinding *u, __u64 address)
{
	const struct kiln_known_code *known = NULL;
	struct kiln_code_piece piece;
	struct vm_area_struct *area;
	unsigned long start = 0, end = 0, flags = 0, offset = 0;
	struct mm_struct *mm = NULL;
	struct inode *inode = NULL;
	struct file *file = NULL;
	void *vdso = NULL;

	if (!u)
		return KILN_END_NO_MAPPING;
	u->mapping.start = u->mapping.end = 0;
	bpf_core_read(&mm, sizeof mm, &task_of(u)->mm);
	area = look_up_mapping(u, mm, address);
	if (!area)
		return KILN_END_NOT_CODE;
	bpf_core_read(&start, sizeof start, &area->vm_start);
	bpf_core_read(&end, sizeof end, &area->vm_end);
	bpf_core_read(&flags, sizeof flags, &area->vm_flags);
	if (address < start || address >= end || !(flags & VM_EXEC))
		return KILN_END_NOT_CODE;
	u->mapping.table = u->mapping.piece = 0;
	u->mapping.granules = KILN_GENERATED_CODE;
	bpf_core_read(&file, sizeof file, &area->vm_file);
	bpf_core_read(&vdso, sizeof vdso, &mm->context.vdso);
	__builtin_memset(&u->piece, 0, sizeof u->piece);
	if (file) {
		bpf_core_read(&offset, sizeof offset, &area->vm_pgoff);
		u->piece.file_offset = (__u64)offset << 12;
		bpf_core_read(&inode, sizeof inode, &file->f_inode);
		describe_file(inode, &u->piece);
	}
	u->mapping.inode = u->piece.inode;
	u->mapping.seen = u->piece.inode ^ (__u64)u->piece.device << 32;
	if (file || start == (unsigned long)vdso) {
		piece = u->piece; /* Linux 6.1 takes no key that a global function's argument points to */
		known = bpf_map_lookup_elem(&known_code, &piece);
		if (!known)
			return u->knows_process ? KILN_END_NO_MAPPING : KILN_END_NO_PROCESS;
		u->mapping.bias = start - known->address;
		u->mapping.piece = known->number;
		u->mapping.table = known->table;
		u->mapping.granules = known->granules;
	}
	u->mapping.start = start;
	u->mapping.end = end;
	return 0;
}

#endif
