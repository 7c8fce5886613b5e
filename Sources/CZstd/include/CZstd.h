// libzstd for Swift.
#ifndef KILN_CZSTD_H
#define KILN_CZSTD_H

#include <zstd.h>

#endif
