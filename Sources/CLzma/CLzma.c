// Makes this a C target that SwiftPM can build: everything is inline in the header.
#include "CLzma.h"
