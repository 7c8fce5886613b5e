// zlib for Swift.
#ifndef KILN_CZLIB_H
#define KILN_CZLIB_H

#include <zlib.h>

#endif
