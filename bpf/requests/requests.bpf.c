/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Requests of a protocol: counts and latencies by process and command, aggregated in the kernel.
 *
 * Three hooks see the same receives and sends, and user space loads the programs of one of them: hook_socket.bpf.h, hook_fentry.bpf.h or
 * hook_syscall.bpf.h. hook_tls.bpf.h, beside one of them, sees the contents of encrypted connections. When a program runs, the received
 * bytes are in the user's buffer.
 *
 * Limits: data beyond the first iovec of a server's receive, recvmmsg and 32-bit callers are counted as lost; the connection is synced again
 * at its next proven request boundary. A listener with a backlog of 0 makes its connections look outgoing, and outgoing ones are ignored.
 *
 * Each protocol has three objects, because programs that a session doesn't need would still be relocated and verified at every load:
 *
 *   NAME         the server's side
 *   NAME-client  -DCLIENT_SIDE: what a process sends are requests (client.bpf.h)
 *   NAME-trace   -DTRACING: the server's side, with a record for single requests (trace.bpf.h) */
#include "common/bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Programs are loaded in the order of this file. Those of function probes come first: separate threads load them (kiln_load_object). */
#include "sockets/hook_tls.bpf.h"
#include "sockets/hook_socket.bpf.h"
#include "sockets/hook_fentry.bpf.h"
#include "sockets/hook_syscall.bpf.h"
