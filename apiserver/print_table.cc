#include "print_table.h"

#include <nlohmann/json.hpp>

#include "resources/fields.h"

namespace coracle {
namespace {

Json cell_of(const Column& column, const Json& object, const Clock& clock) {
  return column.cell ? column.cell(object, clock) : Json("");
}

std::vector<Column> columns_of(const ResourceKind& kind) {
  if (!kind.columns.empty()) return kind.columns;
  return {{"Name", "string", "name", "Name must be unique within a namespace.", 0,
           [](const Json& o, const Clock&) {
             return Json(json_string(o, {"metadata", "name"}));
           }},
          {"Age", "string", "", "Time since the object was created.", 0,
           [](const Json& o, const Clock& clock) {
             return Json(age_of(json_string(o, {"metadata", "creationTimestamp"}), clock));
           }}};
}

std::string number(std::int64_t value, const char* unit) {
  return std::to_string(value) + unit;
}

// "3h5m": the larger unit, and the smaller one unless it is zero.
std::string two(std::int64_t value, std::int64_t per, const char* large, const char* small) {
  const std::int64_t rest = value % per;
  return number(value / per, large) + (rest == 0 ? "" : number(rest, small));
}

Json row_conditions(const ResourceKind& kind, const Json& object) {
  const std::string phase = json_string(object, {"status", "phase"});
  if (kind.resource.plural != "pods" || (phase != "Succeeded" && phase != "Failed")) return Json();
  return Json::array({{{"type", "Completed"},
                       {"status", "True"},
                       {"reason", phase},
                       {"message", phase == "Succeeded" ? "The pod has completed successfully."
                                                        : "The pod failed."}}});
}

}  // namespace

std::string human_duration(std::chrono::seconds age) {
  const std::int64_t s = age.count();
  if (s < -1) return "<invalid>";
  if (s < 0) return "0s";
  if (s < 120) return number(s, "s");
  const std::int64_t m = s / 60;
  if (m < 10) return two(s, 60, "m", "s");
  if (m < 180) return number(m, "m");
  const std::int64_t h = m / 60;
  if (h < 8) return two(m, 60, "h", "m");
  if (h < 48) return number(h, "h");
  const std::int64_t d = h / 24;
  if (d < 8) return two(h, 24, "d", "h");
  if (d < 730) return number(d, "d");
  if (d < 8 * 365) {
    const std::int64_t days = d % 365;
    return number(d / 365, "y") + (days == 0 ? "" : number(days, "d"));
  }
  return number(d / 365, "y");
}

std::string age_of(const std::string& timestamp, const Clock& clock) {
  if (timestamp.empty()) return "<unknown>";
  const auto time = parse_time(timestamp);
  if (time == std::chrono::system_clock::time_point{}) return "<unknown>";
  return human_duration(std::chrono::floor<std::chrono::seconds>(clock.now() - time));
}

Json table_columns(const ResourceKind& kind) {
  Json out = Json::array();
  for (const Column& c : columns_of(kind))
    out.push_back({{"name", c.name},
                   {"type", c.type},
                   {"format", c.format},
                   {"description", c.description},
                   {"priority", c.priority}});
  return out;
}

Json table_row(const ResourceKind& kind, const Json& object, IncludeObject include,
               const Clock& clock) {
  Json row = {{"cells", Json::array()}};
  for (const Column& c : columns_of(kind)) row["cells"].push_back(cell_of(c, object, clock));
  Json conditions = row_conditions(kind, object);
  if (!conditions.is_null()) row["conditions"] = std::move(conditions);
  switch (include) {
    case IncludeObject::None:
      row["object"] = nullptr;
      break;
    case IncludeObject::Metadata:
      row["object"] = {{"kind", "PartialObjectMetadata"},
                       {"apiVersion", "meta.k8s.io/v1"},
                       {"metadata", object_at(object, "metadata")}};
      break;
    case IncludeObject::Object:
      row["object"] = object;
      break;
  }
  return row;
}

}  // namespace coracle
