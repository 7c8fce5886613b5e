#include "CTOML.h"

#include <cstdio>
#include <string_view>

namespace
{

struct BrokenAssertion {
};

} // namespace

// Some typing errors break assertions of toml++ 3.3. Its default ends the process, or with NDEBUG goes on regardless.
#undef NDEBUG
#define TOML_ASSERT(expression) (static_cast<bool>(expression) ? void() : throw BrokenAssertion{})
#include <toml++/toml.h>

namespace
{

kiln_toml_place place_of(const toml::source_region &region)
{
	return { region.begin.line, region.begin.column };
}

kiln_toml_value value_of(const toml::key &key, const toml::node &node, bool is_element)
{
	kiln_toml_value value = {};

	value.key = key.str().data();
	value.key_length = key.str().size();
	value.key_place = place_of(key.source());
	value.place = place_of(node.source());
	value.is_element = is_element;
	if (auto text = node.as_string()) {
		value.kind = KILN_TOML_STRING;
		value.text = text->get().data();
		value.length = text->get().size();
	} else if (auto integer = node.as_integer()) {
		value.kind = KILN_TOML_INTEGER;
		value.integer = integer->get();
	} else if (auto number = node.as_floating_point()) {
		value.kind = KILN_TOML_NUMBER;
		value.number = number->get();
	} else if (auto boolean = node.as_boolean()) {
		value.kind = KILN_TOML_BOOLEAN;
		value.boolean = boolean->get();
	} else {
		value.kind = node.is_array() ? KILN_TOML_ARRAY : node.is_table() ? KILN_TOML_TABLE : KILN_TOML_TIME;
	}
	return value;
}

bool breaks(const char *text, size_t length)
{
	try {
		(void)toml::parse(std::string_view(text, length));
		return false;
	} catch (const toml::parse_error &) {
		return false;
	} catch (const BrokenAssertion &) {
		return true;
	}
}

// The shortest beginning of a text that breaks an assertion: its last character is the wrong one, because parsing goes from front to back.
size_t broken_length(const char *text, size_t length)
{
	size_t fits = 0;

	while (length - fits > 1) {
		size_t middle = fits + (length - fits) / 2;
		(breaks(text, middle) ? length : fits) = middle;
	}
	return length;
}

// The place of a text's last character.
kiln_toml_place end_of(const char *text, size_t length)
{
	kiln_toml_place place = { 1, 0 };

	for (size_t i = 0; i < length; i++) {
		bool continues = (text[i] & 0xc0) == 0x80;
		place.column += !continues;
		if (text[i] == '\n' && i + 1 < length)
			place = { place.line + 1, 0 };
	}
	return place;
}

} // namespace

bool kiln_toml_read(const char *text, size_t length, kiln_toml_receiver receive, void *context, kiln_toml_error *error)
{
	toml::table table;

	try {
		table = toml::parse(std::string_view(text, length));
	} catch (const toml::parse_error &failure) {
		auto description = failure.description();
		snprintf(error->description, sizeof error->description, "%.*s", int(description.size()), description.data());
		error->place = place_of(failure.source());
		return false;
	} catch (const BrokenAssertion &) {
		snprintf(error->description, sizeof error->description, "unexpected character");
		error->place = end_of(text, broken_length(text, length));
		return false;
	}
	for (auto &&[key, node] : table) {
		auto value = value_of(key, node, false);
		receive(&value, context);
		if (auto array = node.as_array()) {
			for (auto &element : *array) {
				auto inner = value_of(key, element, true);
				receive(&inner, context);
			}
		}
	}
	return true;
}
