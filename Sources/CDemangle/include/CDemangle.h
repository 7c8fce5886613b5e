// Demanglers of C++, Rust (both from libiberty) and Swift (from Swift's own runtime), with a bound on what they write.
#ifndef KILN_CDEMANGLE_H
#define KILN_CDEMANGLE_H

#include <stddef.h>

// What a compiler's symbol is called in its source, C++ and Rust names without parameters and hashes. Writes at most `room`
// bytes, which nothing terminates, and returns how many; 0 where the symbol is not mangled, or its name needs more room.
size_t kiln_demangle_itanium_or_rust(const char *mangled, char *name, size_t room);
size_t kiln_demangle_swift(const char *mangled, size_t length, char *name, size_t room);

#endif
