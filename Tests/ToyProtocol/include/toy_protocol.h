/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef TOY_PROTOCOL_H
#define TOY_PROTOCOL_H

#include "kiln_objects.h"

/* bpf/requests/requests.bpf.c, compiled with the toy protocol. */
struct kiln_object toy_protocol_object(void);

#endif
