// The values at the top of a TOML document with their places, read by toml++.
#ifndef KILN_CTOML_H
#define KILN_CTOML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Both begin at 1; a column counts code points.
struct kiln_toml_place {
	uint32_t line, column;
};

enum kiln_toml_kind {
	KILN_TOML_STRING,
	KILN_TOML_INTEGER,
	KILN_TOML_NUMBER, // with a fraction or an exponent, inf or nan
	KILN_TOML_BOOLEAN,
	KILN_TOML_TIME, // a date, a time of day, or both
	KILN_TOML_ARRAY,
	KILN_TOML_TABLE,
};

struct kiln_toml_value {
	// UTF-8 without a terminator. What it points at lasts until the call that hands it over returns.
	const char *key;
	size_t key_length;
	struct kiln_toml_place key_place, place;
	enum kiln_toml_kind kind;
	// An element of the array that was told before it, under the same key.
	bool is_element;
	// What the kind has: the text of a string in UTF-8, without a terminator.
	const char *text;
	size_t length;
	int64_t integer;
	double number;
	bool boolean;
};

struct kiln_toml_error {
	char description[256]; // cut off where it is longer
	struct kiln_toml_place place;
};

typedef void (*kiln_toml_receiver)(const struct kiln_toml_value *value, void *context);

#ifdef __cplusplus
extern "C" {
#endif

// Hands over each value at the top, by the order of the keys' bytes; an array is followed by its elements, and no table or inner array is
// entered. Returns false, and hands over nothing, if the text is no TOML.
bool kiln_toml_read(const char *text, size_t length, kiln_toml_receiver receive, void *context, struct kiln_toml_error *error);

#ifdef __cplusplus
}
#endif

#endif
