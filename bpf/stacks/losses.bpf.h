/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What the programs of stacks lose: KILN_STACK_LOSSES. */
#ifndef KILN_STACK_LOSSES_BPF_H
#define KILN_STACK_LOSSES_BPF_H

#include "include/kiln_stacks.h"
#define LOSS_COUNT KILN_STACK_LOSS_COUNT
#define LOST_DESCENDANT KILN_LOST_DESCENDANTS_MAP_FULL
#include "common/losses.bpf.h"

#endif
