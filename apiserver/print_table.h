// Tables as `kubectl get` shows them: a kind's columns, and one row per object. Pure.
#pragma once

#include <coracle/clock.h>
#include <coracle/object.h>

#include <chrono>
#include <string>

#include "registry.h"

namespace coracle {

// What a row carries of its object: nothing, PartialObjectMetadata or all of it.
enum class IncludeObject { None, Metadata, Object };

// The Table's columnDefinitions. A kind without columns has Name and Age.
Json table_columns(const ResourceKind& kind);
// {"cells":[...],"object":...,"conditions":[...]}.
Json table_row(const ResourceKind& kind, const Json& object, IncludeObject include,
               const Clock& clock);

// An age as kubectl writes it: "5s", "3m10s", "2d3h".
std::string human_duration(std::chrono::seconds age);
// The age of an RFC 3339 time: "<unknown>" when empty.
std::string age_of(const std::string& timestamp, const Clock& clock);
// The STATUS column of a Pod, and how many of its containers are ready, of how many, and restarted.
struct PodSummary {
  std::string status;
  int ready = 0, total = 0;
  std::int64_t restarts = 0;
  std::string last_restart;  // RFC 3339, "" = none
};
PodSummary summarize_pod(const Json& pod);

}  // namespace coracle
