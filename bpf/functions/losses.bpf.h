/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What the programs of functions lose: KILN_FUNCTION_LOSSES. */
#ifndef KILN_FUNCTION_LOSSES_BPF_H
#define KILN_FUNCTION_LOSSES_BPF_H

#include "include/kiln_functions.h"

#define LOSS_COUNT KILN_FUNCTION_LOSS_COUNT
#define LOST_DESCENDANT KILN_LOST_FUNCTION_DESCENDANTS_MAP_FULL
#include "common/losses.bpf.h"

#endif
