// malloc of the C library, as far as Swift's Glibc module leaves it out.
#ifndef KILN_CMALLOC_H
#define KILN_CMALLOC_H

#include <malloc.h>

#endif
