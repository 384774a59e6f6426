// The columns of `kubectl get`, per kind.
#pragma once

#include "registry.h"

namespace coracle::columns {

std::vector<Column> pods();
std::vector<Column> services();
std::vector<Column> endpoints();
std::vector<Column> endpoint_slices();
std::vector<Column> nodes();
std::vector<Column> namespaces();
std::vector<Column> config_maps();
std::vector<Column> secrets();
std::vector<Column> service_accounts();
std::vector<Column> events();
std::vector<Column> leases();
std::vector<Column> deployments();
std::vector<Column> replica_sets();
std::vector<Column> daemon_sets();
std::vector<Column> controller_revisions();
std::vector<Column> scales();

// Building blocks.
Column name();
Column age();
using Text = std::string (*)(const Json& object);
Column text(const char* name, const char* description, Text cell, int priority = 0);
Column number(const char* name, const char* description, std::int64_t (*cell)(const Json& object));
std::string or_none(const std::string& text);
// "a=b,c=d", or "<none>".
std::string selector_text(const Json& map);

}  // namespace coracle::columns
