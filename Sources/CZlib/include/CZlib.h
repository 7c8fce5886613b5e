// zlib for Swift.
#ifndef KILN_CZLIB_H
#define KILN_CZLIB_H

#include <zlib.h>

/* deflateInit2 is a macro, which Swift does not see. */
static inline int kiln_deflate_init_raw(z_streamp stream, int level)
{
	return deflateInit2(stream, level, Z_DEFLATED, -MAX_WBITS, 9, Z_DEFAULT_STRATEGY);
}

static inline int kiln_inflate_init_raw(z_streamp stream)
{
	return inflateInit2(stream, -MAX_WBITS);
}

#endif
