#include "watch_filter.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace coracle {
namespace {

std::string text_of(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_boolean()) return value.get<bool>() ? "true" : "false";
  if (value.is_number()) return value.dump();
  return "";
}

std::string at_path(const Json& object, const std::string& path) {
  const Json* here = &object;
  std::size_t from = 0;
  while (from <= path.size()) {
    const std::size_t dot = std::min(path.find('.', from), path.size());
    if (!here->is_object()) return "";
    const auto it = here->find(path.substr(from, dot - from));
    if (it == here->end()) return "";
    here = &*it;
    from = dot + 1;
  }
  return text_of(*here);
}

Json decoded(const Entry& entry) {
  Json document = Json::parse(entry.value, nullptr, false);
  return document.is_discarded() ? Json::object() : document;
}

}  // namespace

std::string field_value(const Json& object, const std::string& field) {
  if (field == "source") {
    const std::string component = at_path(object, "source.component");
    return component.empty() ? at_path(object, "reportingComponent") : component;
  }
  if (field == "status.podIPs") {
    const Json* ips = json_find(object, {"status", "podIPs"});
    return ips != nullptr && ips->is_array() && !ips->empty() ? json_string(ips->front(), {"ip"})
                                                              : "";
  }
  const std::string value = at_path(object, field);
  const bool boolean = field == "spec.unschedulable" || field == "spec.hostNetwork";
  return boolean && value.empty() ? "false" : value;
}

Result<void> check_fields(const ResourceKind& kind, const FieldSelector& fields) {
  for (const auto& term : fields.terms()) {
    if (term.field == "metadata.name" || term.field == "metadata.namespace") continue;
    const auto& known = kind.selectable_fields;
    if (std::find(known.begin(), known.end(), term.field) == known.end())
      return Error{Code::BadRequest, "field label not supported: " + term.field};
  }
  return {};
}

bool matches(const Json& object, const LabelSelector& labels, const FieldSelector& fields) {
  if (!labels.empty() && !labels.matches(json_string_map(object, {"metadata", "labels"})))
    return false;
  return fields.empty() ||
         fields.matches([&](const std::string& f) { return field_value(object, f); });
}

bool matches(const Entry& entry, const LabelSelector& labels, const FieldSelector& fields) {
  if (labels.empty() && fields.empty()) return true;
  return matches(decoded(entry), labels, fields);
}

std::optional<FilteredEvent> filter_event(const StoreEvent& event, const LabelSelector& labels,
                                          const FieldSelector& fields) {
  using Type = WatchEvent::Type;
  if (event.type == StoreEvent::Type::Delete) {
    if (!matches(*event.entry, labels, fields)) return std::nullopt;
    return FilteredEvent{Type::Deleted, event.entry};
  }
  const bool before = event.previous != nullptr && matches(*event.previous, labels, fields);
  const bool now = matches(*event.entry, labels, fields);
  if (now) return FilteredEvent{before ? Type::Modified : Type::Added, event.entry};
  if (!before) return std::nullopt;
  auto last = std::make_shared<Entry>(*event.previous);
  last->value = stamp_resource_version(last->value, event.revision);
  last->mod_revision = event.revision;
  return FilteredEvent{Type::Deleted, std::move(last)};
}

}  // namespace coracle
