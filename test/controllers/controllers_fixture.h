// All controllers together over the real registry in memory, and how to wait for what they do.
#pragma once

#include <coracle/controllers.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <set>
#include <string>

#include "support/registry_client.h"

namespace coracle::test {

inline Json pod_json(const std::string& name, const std::string& node = "") {
  Json out = {
      {"metadata", {{"name", name}, {"namespace", "default"}, {"labels", {{"app", "web"}}}}},
      {"spec",
       {{"containers",
         Json::array({{{"name", "c"},
                       {"image", "coracle/echo"},
                       {"ports", Json::array({{{"name", "http"}, {"containerPort", 8080}}})}}})}}}};
  if (!node.empty()) out["spec"]["nodeName"] = node;
  return out;
}

class ControllersTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto made = Controllers::create(*api_, clock_, {.pod_cidr = *Cidr::parse("10.42.0.0/16")});
    ASSERT_TRUE(made) << made.error().message;
    controllers_ = std::move(*made);
    controllers_->start();
  }
  void TearDown() override { controllers_->stop(); }

  Json make(const Resource& resource, const Json& object) {
    const auto made = api_->create(resource, Object(object));
    EXPECT_TRUE(made) << made.error().message;
    return made ? made->json() : Json();
  }
  void node(const std::string& name, bool ready = true) {
    make(resources::kNodes, {{"metadata", {{"name", name}}}});
    set_node_ready(name, ready);
  }
  void set_node_ready(const std::string& name, bool ready) {
    const Json status = {
        {"status",
         {{"conditions", Json::array({{{"type", "Ready"}, {"status", ready ? "True" : "False"}}})},
          {"addresses", Json::array({{{"type", "InternalIP"}, {"address", "192.0.2.7"}}})}}}};
    ASSERT_TRUE(api_->patch(resources::kNodes, {"", name}, PatchType::JsonMerge, status, "status"));
  }
  // As an agent reports it.
  void run(const std::string& name, const std::string& ip, bool ready) {
    const Json status = {{"status",
                          {{"phase", "Running"},
                           {"podIP", ip},
                           {"podIPs", Json::array({{{"ip", ip}}})},
                           {"conditions", Json::array({{{"type", "Ready"},
                                                        {"status", ready ? "True" : "False"}}})}}}};
    const auto done =
        api_->patch(resources::kPods, {"default", name}, PatchType::JsonMerge, status, "status");
    ASSERT_TRUE(done) << done.error().message;
  }
  void service(const std::string& name, const Json& spec = Json::object()) {
    Json object = {{"metadata", {{"name", name}, {"namespace", "default"}}},
                   {"spec",
                    {{"selector", {{"app", "web"}}},
                     {"ports", Json::array({{{"port", 80}, {"targetPort", "http"}}})}}}};
    object["spec"].update(spec);
    make(resources::kServices, object);
  }
  // "10.42.0.5!" for one that is not ready.
  static std::string addresses(const Json& endpoints) {
    std::string out;
    for (const Json& subset : endpoints.value("subsets", Json::array())) {
      for (const Json& a : subset.value("addresses", Json::array()))
        out += a["ip"].get<std::string>() + " ";
      for (const Json& a : subset.value("notReadyAddresses", Json::array()))
        out += a["ip"].get<std::string>() + "! ";
    }
    return out;
  }
  void expect_endpoints(const std::string& name, const std::string& expected) {
    EXPECT_TRUE(api_.await(resources::kEndpoints, {"default", name}, [&](const Json& e) {
      return e.is_object() && addresses(e) == expected;
    })) << expected;
  }
  // The ready addresses of the Service's slices, however many there are.
  bool slices_are(const std::string& service, const std::string& expected) {
    // Any change of a slice brings the next look.
    return api_.await(resources::kEndpointSlices, {"default", "none"}, [&](const Json&) {
      const auto found =
          api_->list(resources::kEndpointSlices,
                     {.ns = "default", .label_selector = "kubernetes.io/service-name=" + service});
      std::string out;
      for (const Object& slice : found->items)
        for (const Json& e : slice.json().value("endpoints", Json::array()))
          if (json_bool(e, {"conditions", "ready"}))
            out += e["addresses"][0].get<std::string>() + " ";
      return out == expected;
    });
  }
  bool gone(const Resource& resource, const ObjectKey& key) {
    return api_.await(resource, key, [](const Json& o) { return o.is_null(); });
  }

  ManualClock clock_;
  RegistryClient api_{clock_};
  std::unique_ptr<Controllers> controllers_;
};

}  // namespace coracle::test
