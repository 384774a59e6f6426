// Pods and Nodes as documents, decoded as the caches do, and a state made of them.
#pragma once

#include <coracle/api/node.h>
#include <coracle/api/pod.h>
#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "scheduling.h"
#include "scheduling_filters.h"
#include "scheduling_scores.h"
#include "scheduling_state.h"

namespace coracle::test {

inline NodePtr a_node(const std::string& name, const Json& labels = Json::object(),
                      const Json& allocatable = nullptr, const Json& spec = Json::object()) {
  Json own = labels;
  own[kLabelHostname] = name;
  return std::make_shared<const Node>(*Node::decode(
      Object(Json{{"metadata", {{"name", name}, {"labels", own}}},
                  {"spec", spec},
                  {"status",
                   {{"allocatable", allocatable},
                    {"conditions", Json::array({{{"type", "Ready"}, {"status", "True"}}})}}}})));
}

inline Json container(const Json& requests = Json::object()) {
  return {{"name", "c"}, {"image", "i"}, {"resources", {{"requests", requests}}}};
}

inline Json merged(Json base, const Json& more) {
  if (more.is_object()) base.update(more);
  return base;
}

// The spec is merged over one container without requests.
inline PodPtr a_pod(const std::string& name, const Json& spec = Json::object(),
                    const Json& labels = Json::object(), const Json& metadata = Json::object()) {
  const Json full = merged({{"containers", Json::array({container()})}}, spec);
  const Json meta = merged({{"name", name},
                            {"namespace", "default"},
                            {"uid", name},
                            {"labels", merged(Json::object(), labels)}},
                           metadata);
  return std::make_shared<const Pod>(
      *Pod::decode(Object(Json{{"metadata", meta}, {"spec", full}})));
}

inline Json owned_by(const std::string& uid) {
  return {{"ownerReferences", Json::array({{{"apiVersion", "apps/v1"},
                                            {"kind", "ReplicaSet"},
                                            {"name", uid},
                                            {"uid", uid},
                                            {"controller", true}}})}};
}

inline Json requesting(const Json& requests) {
  return {{"containers", Json::array({container(requests)})}};
}

struct World {
  SchedulingState state;
  explicit World(const std::vector<NodePtr>& nodes) {
    for (const NodePtr& node : nodes) state.set_node(node);
  }
  World& with(const std::string& node, const PodPtr& pod) {
    state.place(pod, node, SchedulingState::Source::Api);
    return *this;
  }
  // The node's name, or the message.
  std::string of(const PodPtr& pod, const std::vector<LabelSelector>& services = {}) const {
    const SchedulingDecision decision = schedule(*pod, state, services);
    return decision.node.empty() ? decision.message : decision.node;
  }
  // Places `count` Pods made by `make`, and tells where: "a b a".
  template <typename F>
  std::string fill(int count, const F& make) {
    std::string out;
    for (int i = 0; i < count; ++i) {
      const PodPtr pod = make(i);
      const std::string where = of(pod);
      out += (out.empty() ? "" : " ") + where;
      if (state.node(where) != nullptr) with(where, pod);
    }
    return out;
  }
};

}  // namespace coracle::test
