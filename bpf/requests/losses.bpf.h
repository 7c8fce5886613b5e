/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What the programs of requests lose: KILN_REQUEST_LOSSES. */
#ifndef KILN_REQUEST_LOSSES_BPF_H
#define KILN_REQUEST_LOSSES_BPF_H

#include "include/kiln_requests.h"
#define LOSS_COUNT KILN_REQUEST_LOSS_COUNT
#include "common/losses.bpf.h"

#endif
