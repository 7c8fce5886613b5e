/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Stacks of the targets, of what descends from them, or of everything. Equal stacks are added up here. Each source of stacks is a file of its
 * own. */
#include "common/bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#include "stacks/events.bpf.h"
#include "stacks/off_cpu.bpf.h"
#include "stacks/on_cpu.bpf.h"
#include "stacks/sleepers.bpf.h"
