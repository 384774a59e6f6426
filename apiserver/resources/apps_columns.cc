// The columns of Deployments, ReplicaSets, DaemonSets and ControllerRevisions, and of the Scale of
// the first two.
#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>

#include "resources/columns.h"
#include "resources/fields.h"

namespace coracle::columns {
namespace {

std::int64_t status_number(const Json& object, const char* key) {
  return json_int(object, {"status", key});
}

std::string of_containers(const Json& object, const char* field) {
  std::string out;
  const Json& spec = object_at(object_at(object_at(object, "spec"), "template"), "spec");
  for (const Json& container : array_in(spec, "containers"))
    out += (out.empty() ? "" : ",") + text_in(container, field);
  return out;
}

std::string selector_of(const Json& object) {
  const auto selector = LabelSelector::from_json(object_at(object_at(object, "spec"), "selector"));
  return selector ? or_none(selector->to_string()) : "<error>";
}

void append_template(std::vector<Column>& out) {
  out.push_back(text(
      "Containers", "The names of a Pod's containers.",
      [](const Json& o) { return of_containers(o, "name"); }, 1));
  out.push_back(text(
      "Images", "What a Pod's containers run.",
      [](const Json& o) { return of_containers(o, "image"); }, 1));
  out.push_back(text("Selector", "Which Pods are its own.", selector_of, 1));
}

}  // namespace

std::vector<Column> deployments() {
  std::vector<Column> out = {
      name(),
      text("Ready", "Ready Pods of those wanted.",
           [](const Json& o) {
             return std::to_string(status_number(o, "readyReplicas")) + "/" +
                    std::to_string(json_int(o, {"spec", "replicas"}));
           }),
      number("Up-to-date", "Pods of the newest template.",
             [](const Json& o) { return status_number(o, "updatedReplicas"); }),
      number("Available", "Pods that have been ready long enough.",
             [](const Json& o) { return status_number(o, "availableReplicas"); }),
      age()};
  append_template(out);
  return out;
}

std::vector<Column> replica_sets() {
  std::vector<Column> out = {
      name(),
      number("Desired", "How many Pods there should be.",
             [](const Json& o) {
               return json_int(o, {"spec", "replicas"});
             }),
      number("Current", "How many there are.",
             [](const Json& o) { return status_number(o, "replicas"); }),
      number("Ready", "How many of them are ready.",
             [](const Json& o) { return status_number(o, "readyReplicas"); }),
      age()};
  append_template(out);
  return out;
}

std::vector<Column> daemon_sets() {
  std::vector<Column> out = {
      name(),
      number("Desired", "Nodes that should have a Pod.",
             [](const Json& o) { return status_number(o, "desiredNumberScheduled"); }),
      number("Current", "Nodes of those that have one.",
             [](const Json& o) { return status_number(o, "currentNumberScheduled"); }),
      number("Ready", "Nodes whose Pod is ready.",
             [](const Json& o) { return status_number(o, "numberReady"); }),
      number("Up-to-date", "Nodes whose Pod is of the newest template.",
             [](const Json& o) { return status_number(o, "updatedNumberScheduled"); }),
      number("Available", "Nodes whose Pod has been ready long enough.",
             [](const Json& o) { return status_number(o, "numberAvailable"); }),
      text("Node Selector", "The labels that nodes must have.",
           [](const Json& o) {
             const Json& pod = object_at(object_at(o, "spec"), "template");
             return selector_text(object_at(object_at(pod, "spec"), "nodeSelector"));
           }),
      age()};
  append_template(out);
  return out;
}

std::vector<Column> controller_revisions() {
  return {name(),
          text("Controller", "Whose state it is.",
               [](const Json& o) {
                 for (const Json& owner : array_in(object_at(o, "metadata"), "ownerReferences")) {
                   if (!json_bool(owner, {"controller"})) continue;
                   const std::string api = text_in(owner, "apiVersion");
                   const std::string group = api.substr(0, api.find('/'));
                   std::string kind = text_in(owner, "kind");
                   std::transform(kind.begin(), kind.end(), kind.begin(), ::tolower);
                   if (group != api) kind += "." + group;
                   return kind + "/" + text_in(owner, "name");
                 }
                 return std::string("<none>");
               }),
          number("Revision", "The higher, the newer.",
                 [](const Json& o) { return json_int(o, {"revision"}); }),
          age()};
}

std::vector<Column> scales() {
  return {name(),
          number("Desired", "How many there should be.",
                 [](const Json& o) {
                   return json_int(o, {"spec", "replicas"});
                 }),
          number("Available", "How many there are.",
                 [](const Json& o) { return status_number(o, "replicas"); }),
          age()};
}

}  // namespace coracle::columns
