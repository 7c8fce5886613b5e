/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A trace: a record for each request that passes the filters, sent through a ring when its reply has been handed over. The
 * filters decide here, before anything is copied for user space.
 *
 * Every request that passes the name and client filters is emitted, held back by the other filters, or counted as
 * lost: connection.pending is how many of a connection's are not yet. */
#ifndef KILN_TRACE_BPF_H
#define KILN_TRACE_BPF_H

#include "trace/trace_answers.bpf.h"
#include "trace/trace_pushes.bpf.h"

#endif
