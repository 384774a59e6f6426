// Selectors over objects and events, shared by HTTP watches, LocalClient and lists. Pure.
#pragma once

#include <coracle/client.h>
#include <coracle/labels.h>
#include <coracle/store.h>

#include <optional>
#include <string>

#include "registry.h"

namespace coracle {

// The text of a selectable field ("spec.nodeName"), "" when absent; absent booleans read "false".
std::string field_value(const Json& object, const std::string& field);
// BadRequest "field label not supported: x" when the kind cannot select by one of the fields.
Result<void> check_fields(const ResourceKind& kind, const FieldSelector& fields);
bool matches(const Json& object, const LabelSelector& labels, const FieldSelector& fields);
// The same on an entry's text, which is only parsed when there is a selector.
bool matches(const Entry& entry, const LabelSelector& labels, const FieldSelector& fields);

struct FilteredEvent {
  WatchEvent::Type type = WatchEvent::Type::Added;
  EntryPtr entry;  // the object as the client shall see it, the event's revision in place
};
// What a watcher with these selectors sees of a store event: an object that starts to match is
// Added, one that stops to match is Deleted (its last matching state), others that match are
// Modified. nullopt: nothing.
std::optional<FilteredEvent> filter_event(const StoreEvent& event, const LabelSelector& labels,
                                          const FieldSelector& fields);

}  // namespace coracle
