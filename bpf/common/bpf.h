/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The kernel's types and BPF's helpers. A test that compiles a header for user space has a bpf_host.h of its own, with what the header
 * takes of both. */
#ifndef KILN_BPF_H
#define KILN_BPF_H

#ifdef __bpf__
#include "common/kernel_types.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#else
#include "bpf_host.h"
#endif

#endif
