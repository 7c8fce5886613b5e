/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Redis commands: counts and latencies by process and command, aggregated here.
 *
 * Three hooks see the same receives and sends; user space loads the programs of one of them: hook_socket.bpf.h,
 * hook_fentry.bpf.h and hook_syscall.bpf.h. A fourth, hook_tls.bpf.h, sees into what they see encrypted. At all points the data of
 * a receive lies in the user's buffer; the saved registers hold the call's arguments, which two of them go by, what is made of
 * them is here.
 *
 * Limits: data beyond the first iovec of a server's receive, recvmmsg and 32-bit callers are not followed but counted as lost, and
 * the connection is taken up again at its next provable request boundary. A listener with a backlog of 0 makes its
 * connections look like outgoing ones, which are ignored.
 *
 * Compiled three times, because what a session doesn't need takes its time in each load: it is relocated, looked at, and cut out
 * by the kernel piece by piece.
 *
 *   redis   the server's side
 *   client  -DCLIENT_SIDE: what a process sends are requests (client.bpf.h)
 *   trace   -DTRACING: the server's side, and single requests are told (trace.bpf.h) */
#include "common/bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* The probes of functions first: they are loaded in the order of the file, by threads of their own while the others are (kiln_load_object). */
#include "sockets/hook_tls.bpf.h"
#include "sockets/hook_socket.bpf.h"
#include "sockets/hook_fentry.bpf.h"
#include "sockets/hook_syscall.bpf.h"

