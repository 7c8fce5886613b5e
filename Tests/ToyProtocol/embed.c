/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#include "toy_protocol.h"

#if !__has_embed("../../bpf/build/ToyProtocol.bpf.o")
#error "the BPF objects are missing: run `make bpf` first"
#endif

static const unsigned char bytes[] __attribute__((aligned(8))) = {
#embed "../../bpf/build/ToyProtocol.bpf.o"
};

struct kiln_object toy_protocol_object(void)
{
	return (struct kiln_object){ bytes, sizeof bytes };
}
