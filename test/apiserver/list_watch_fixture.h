// ConfigMaps at revisions worth naming, over a history that does not reach back to the first one.
#pragma once

#include <store/watch_hub.h>

#include "requests_fixture.h"

namespace coracle {

class ListWatchTest : public RequestsFixture {
 protected:
  static constexpr const char* kMaps = "/api/v1/namespaces/default/configmaps";
  static constexpr const char* kTable = "application/json;as=Table;v=v1;g=meta.k8s.io";
  static constexpr const char* kPartial =
      "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
  static constexpr const char* kPartials =
      "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";

  void SetUp() override {
    RequestsFixture::SetUp();
    forget_history();
    // Revisions worth naming: {old} has a; {mid} has a and b; then a changed and c came.
    make(resources::kConfigMaps, labelled("a", "one"));
    old_ = now();
    make(resources::kConfigMaps, labelled("b", "two"));
    mid_ = now();
    ASSERT_TRUE(patch(resources::kConfigMaps, "a", {{"data", {{"a", "2"}}}}));
    make(resources::kConfigMaps, labelled("c", "one"));
  }
  // So many events that the first revision is no longer remembered.
  void forget_history() {
    Revision last = (*store_->create("/elsewhere", "{}", {}))->mod_revision;
    for (std::size_t i = 0; i < kRingEvents; ++i)
      last = (*store_->update("/elsewhere", "{}", last, {}))->mod_revision;
  }
  static Json labelled(const std::string& name, const std::string& group) {
    Json object = config_map(name);
    object["metadata"]["labels"] = {{"group", group}};
    return object;
  }
  // "{old}", "{mid}", "{now}", "{new}" (far in the future) and "{gone}" in a query.
  std::string filled(std::string text) const {
    const std::map<std::string, std::string> values = {{"{old}", old_},
                                                       {"{mid}", mid_},
                                                       {"{now}", now()},
                                                       {"{new}", "888888888"},
                                                       {"{gone}", "1"}};
    for (const auto& [name, value] : values)
      for (std::size_t at = text.find(name); at != std::string::npos; at = text.find(name))
        text.replace(at, name.size(), value);
    return text;
  }
  Response maps(const std::string& query, const std::string& accept = "") const {
    return get(std::string(kMaps) + "?" + filled(query), accept);
  }
  static std::string causes(const Json& status) {
    std::string out;
    const Json* causes = json_find(status, {"details", "causes"});
    if (causes == nullptr) return out;
    for (const Json& cause : *causes)
      out += (out.empty() ? "" : ", ") + json_string(cause, {"field"}) + " " +
             json_string(cause, {"reason"});
    return out;
  }
  std::string old_, mid_;
};

}  // namespace coracle
