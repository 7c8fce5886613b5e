// Demanglers of C++, Rust (both from libiberty) and Swift (from Swift's own runtime), with a limit on their output.
#ifndef KILN_CDEMANGLE_H
#define KILN_CDEMANGLE_H

#include <stddef.h>

// The source name of a linker symbol; C++ and Rust names have no parameters and hashes. Writes at most `room` bytes without a terminator,
// and returns their number. Returns 0 if the symbol is not mangled, or if its name needs more room.
size_t kiln_demangle_itanium_or_rust(const char *mangled, char *name, size_t room);
// The same of a C++ symbol, with its parameters; 0 for a symbol of Rust.
size_t kiln_demangle_itanium_signature(const char *mangled, char *name, size_t room);
size_t kiln_demangle_swift(const char *mangled, size_t length, char *name, size_t room);

#endif
