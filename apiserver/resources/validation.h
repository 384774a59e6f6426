// Checks that many kinds share: names, labels, ports, addresses. Each returns what is wrong, ""
// when nothing is.
#pragma once

#include <coracle/object.h>

#include <string>
#include <string_view>

#include "registry.h"

namespace coracle {

std::string dns1123_label_problem(std::string_view value);
std::string dns1123_subdomain_problem(std::string_view value);
std::string dns1035_label_problem(std::string_view value);
std::string qualified_name_problem(std::string_view value);
std::string label_value_problem(std::string_view value);
std::string port_name_problem(std::string_view value);  // IANA service name
std::string config_key_problem(std::string_view value);
// generateName: a prefix may end with what a whole name may not.
std::string name_problem(ResourceKind::NameRule rule, std::string_view name, bool is_prefix);

void check_port(std::int64_t port, const std::string& field, FieldErrors& errors);
// A port as number 1..65535 or as an IANA name.
void check_port_or_name(const Json& port, const std::string& field, FieldErrors& errors);
void check_protocol(const Json& holder, const std::string& field, FieldErrors& errors);
void check_labels(const Json& labels, const std::string& field, FieldErrors& errors);
void check_one_of(const Json& holder, const char* key, const std::string& field,
                  const std::vector<std::string>& supported, FieldErrors& errors);

// metadata of any object, and what may not change in it.
void check_metadata(const ResourceKind& kind, const Json& metadata, FieldErrors& errors);
void check_metadata_update(const Json& metadata, const Json& old, FieldErrors& errors);

}  // namespace coracle
