// liblzma for Swift.
#ifndef KILN_CLZMA_H
#define KILN_CLZMA_H

#include <lzma.h>

// An initialiser that liblzma offers only as a macro.
static inline lzma_stream kiln_lzma_stream(void)
{
	return (lzma_stream)LZMA_STREAM_INIT;
}

#endif
