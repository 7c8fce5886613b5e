/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What user space and the programs of requests tell each other. */
#ifndef KILN_CONTROL_BPF_H
#define KILN_CONTROL_BPF_H

#include "common/bpf.h"
#include "include/kiln_requests.h"

struct kiln_request_control control;        /* the only variable of .bss: user space finds it at its start */

static __always_inline __u8 row_class(__u32 row)
{
	barrier_var(row);
	return control.row_classes[row & (KILN_COMMAND_CAPACITY - 1)];
}

#endif
