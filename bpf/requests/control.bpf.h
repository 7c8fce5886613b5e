/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Variables that user space and the programs share. */
#ifndef KILN_CONTROL_BPF_H
#define KILN_CONTROL_BPF_H

#include "common/bpf.h"
#include "include/kiln_requests.h"

struct kiln_request_control control; /* the only variable of .bss: user space finds it at its start */

static __always_inline __u8 row_class(__u32 row)
{
	barrier_var(row);
	return control.row_classes[row & (KILN_COMMAND_CAPACITY - 1)];
}

#endif
