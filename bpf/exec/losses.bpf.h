/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef KILN_EXEC_LOSSES_BPF_H
#define KILN_EXEC_LOSSES_BPF_H

#include "include/kiln_exec.h"
#define LOSS_COUNT KILN_EXEC_LOSS_COUNT
#define LOST_DESCENDANT KILN_LOST_EXEC_DESCENDANTS_MAP_FULL
#include "common/losses.bpf.h"

#endif
