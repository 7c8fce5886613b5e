#include "CTOML.h"

#include <cstdio>
#include <string_view>
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

} // namespace

bool kiln_toml_read(const char *text, size_t length, kiln_toml_receiver receive, void *context, kiln_toml_error *error)
{
	auto result = toml::parse(std::string_view(text, length));

	if (!result) {
		auto description = result.error().description();
		snprintf(error->description, sizeof error->description, "%.*s", int(description.size()), description.data());
		error->place = place_of(result.error().source());
		return false;
	}
	for (auto &&[key, node] : result.table()) {
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
