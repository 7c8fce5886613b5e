/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What user space chooses before loading, and what it and the programs share while they run. */
#ifndef KILN_FUNCTION_VARIABLES_BPF_H
#define KILN_FUNCTION_VARIABLES_BPF_H

#include "common/bpf.h"
#include "include/kiln_functions.h"

const volatile struct kiln_function_options options SEC(".rodata.options");

struct kiln_function_variables variables;

#endif
