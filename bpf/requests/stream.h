/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What every protocol's streams have in common: their `state` is the protocol's own, or one of these. */
#ifndef KILN_STREAM_H
#define KILN_STREAM_H

enum stream_end {
	STREAM_FAILED = 254, /* not this protocol from here on; of responses also: could not be read */
	STREAM_LOST,         /* could not be read or followed, which has been counted */
};

#endif
