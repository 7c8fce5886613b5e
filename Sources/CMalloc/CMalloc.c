// Makes this a C target that SwiftPM can build.
#include "CMalloc.h"
