/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* How the structures of a process's Python lie in its memory, which differs from version to version; and Python's frames in a stack. */
#ifndef KILN_PYTHON_H
#define KILN_PYTHON_H

#ifdef __bpf__
#include "common/kernel_types.h"
#else
#include <linux/types.h>
#endif
#include "kiln_mix.h"

#pragma clang diagnostic push
#pragma clang diagnostic error "-Wpadded" /* no hidden bytes in what both sides share */

#define KILN_PYTHON_DEPTH 384 /* frames of Python in a stack */

/* Bytes from the beginning of a frame (_PyInterpreterFrame) and of a code object (PyCodeObject) that are read: what is needed lies in them. Not
 * more: what lies behind a frame may be no memory. */
#define KILN_PYTHON_FRAME_BYTES 72
#define KILN_PYTHON_CODE_BYTES 160

/* Value of `python_processes`, by the number of the process. Offsets are in bytes. */
struct kiln_python {
	__u64 first_interpreter; /* the address of the pointer to it */
	__u64 code_type;         /* the address of PyCode_Type */
	/* In an interpreter. */
	__u32 next_interpreter;
	__u32 first_thread;
	/* In a thread. */
	__u32 next_thread;
	__u32 thread_id;  /* pthread_self() */
	__u32 c_frame;    /* a pointer to what points to the frame; 0: the thread does */
	__u32 last_frame; /* the pointer to the innermost frame, in either */
	/* In a frame. */
	__u32 previous;
	__u32 code;
	__u32 owner;
	__u32 is_entry; /* 0: frames are not marked, but those that C code has called lie above one that C code owns */
	/* In a code object. */
	__u32 type;
	__u32 file;
	__u32 name;
	__u32 qualified_name;
	__u32 line;
	/* In a string. */
	__u32 hash; /* of its characters: names of functions have it from the beginning */
};

/* A frame of Python in struct kiln_stack: the address of its code object, which is divisible by 8, a number that distinguishes it from
 * others that had the address, and whether it is the outermost of those that one call of the interpreter runs. */
#define KILN_PYTHON_ADDRESS_BITS 44
#define KILN_PYTHON_TAG_BITS 19
#define KILN_PYTHON_ENTRY (1ULL << 63)
/* In place of a frame: the others could not be read. */
#define KILN_PYTHON_CUT 0

/* `hash`: of its name; `name`, `file`: the pointers in the code object to its qualified name and to its file's; `line`: its first. */
static inline __u64 kiln_python_frame(__u64 code, __u64 hash, __u64 name, __u64 file, __u32 line)
{
	__u64 tag = kiln_mix(kiln_mix(kiln_mix(kiln_mix(0, hash), name), file), line) >> (64 - KILN_PYTHON_TAG_BITS);

	return (code >> 3 & ((1ULL << KILN_PYTHON_ADDRESS_BITS) - 1)) | tag << KILN_PYTHON_ADDRESS_BITS;
}

#pragma clang diagnostic pop

#endif
