// A Registry over a MemoryStore with a clock that the test moves.
#pragma once

#include <apiserver/registry.h>
#include <apiserver/resources/resources.h>
#include <coracle/clock.h>
#include <coracle/stores.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace coracle {

class FakeClock : public Clock {
 public:
  std::chrono::system_clock::time_point now() const override { return now_; }
  std::chrono::steady_clock::time_point steady_now() const override { return steady_; }
  void advance(std::chrono::seconds by) {
    now_ += by;
    steady_ += by;
  }

 private:
  std::chrono::system_clock::time_point now_ = parse_time("2026-01-02T03:04:05Z");
  std::chrono::steady_clock::time_point steady_{std::chrono::hours(1)};
};

class RegistryFixture : public ::testing::Test {
 protected:
  void SetUp() override {
    store_ = open_memory_store(stamp_resource_version);
    open();
    make(resources::kNamespaces, {{"metadata", {{"name", "default"}}}});
  }
  // (Re)opens the registry over the same store, as after a restart.
  void open(const std::string& service_cidr = "10.96.0.0/16") {
    registry_.reset();
    ResourceOptions options{};
    options.service_cidr = *Cidr::parse(service_cidr);
    options.cluster_dns = *Ip::parse("10.96.0.10");
    auto registry = Registry::create({*store_, clock_, all_kinds(options), catch_up_});
    ASSERT_TRUE(registry) << registry.error().message;
    registry_ = std::move(*registry);
  }
  const ResourceKind& kind(const Resource& r) const {
    return *registry_->find(r.group, r.version, r.plural);
  }
  Result<Json> create(const Resource& r, Json object, WriteOptions options = {}) {
    return registry_->create(kind(r), r.namespaced ? "default" : "", std::move(object), options);
  }
  Json make(const Resource& r, Json object) {
    auto created = create(r, std::move(object));
    EXPECT_TRUE(created) << created.error().message;
    return created ? *created : Json::object();
  }
  ObjectKey key(const Resource& r, const std::string& name) const {
    return {r.namespaced ? "default" : "", name};
  }
  Result<Json> update(const Resource& r, Json object, const std::string& subresource = "",
                      WriteOptions options = {}) {
    const std::string name = json_string(object, {"metadata", "name"});
    return registry_->update(kind(r), key(r, name), subresource, std::move(object), options);
  }
  Result<Json> patch(const Resource& r, const std::string& name, const Json& body,
                     WriteOptions options = {}) {
    return registry_->patch(kind(r), key(r, name), "", {PatchType::JsonMerge, body}, options,
                            nullptr);
  }
  Result<Registry::Removed> remove(const Resource& r, const std::string& name,
                                   DeleteOptions options = {}) {
    return registry_->remove(kind(r), key(r, name), options, {});
  }
  // Null when it is not there.
  Json stored(const Resource& r, const std::string& name) const {
    const auto entry = registry_->get(kind(r), key(r, name));
    return entry ? Json::parse((*entry)->value, nullptr, false) : Json();
  }

  static std::string revision_of(const Json& object) {
    return json_string(object, {"metadata", "resourceVersion"});
  }
  // A Pod of one container, bound to node n1.
  Json bound_pod(const std::string& name) {
    const Resource& pods = resources::kPods;
    make(pods,
         {{"metadata", {{"name", name}}},
          {"spec", {{"containers", Json::array({{{"name", "c"}, {"image", "coracle/echo"}}})}}}});
    auto bound = update(
        pods, {{"metadata", {{"name", name}}}, {"target", {{"kind", "Node"}, {"name", "n1"}}}},
        "binding");
    EXPECT_TRUE(bound) << bound.error().message;
    return bound ? *bound : Json::object();
  }

  std::chrono::milliseconds catch_up_{1};
  FakeClock clock_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<Registry> registry_;
};

inline Json config_map(const std::string& name) {
  return {{"metadata", {{"name", name}}}, {"data", {{"a", "1"}}}};
}
inline Json simple_pod(const std::string& name) {
  return {{"metadata", {{"name", name}}},
          {"spec", {{"containers", Json::array({{{"name", "c"}, {"image", "coracle/echo"}}})}}}};
}
inline Json simple_service(const std::string& name, const Json& spec = Json::object()) {
  Json service = {{"metadata", {{"name", name}}},
                  {"spec", {{"ports", Json::array({{{"port", 80}}})}}}};
  service["spec"].update(spec);
  return service;
}

}  // namespace coracle
