#include "apiserver/schema.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

namespace coracle {
namespace {

using Kind = SchemaField::Kind;
using Shape = SchemaField::Shape;

const SchemaType& type_of(const char* name) {
  const SchemaType* type = Schema::instance().find(name);
  EXPECT_NE(type, nullptr) << name;
  return *type;
}

TEST(Schema, EveryTypeHoldsTogether) {
  const Schema& schema = Schema::instance();
  EXPECT_GT(schema.types().size(), 200U);
  for (const auto& [name, type] : schema.types()) {
    SCOPED_TRACE(name);
    EXPECT_EQ(type.name, name);
    std::set<int> numbers;
    for (const SchemaField& field : type.fields) {
      SCOPED_TRACE(field.name);
      if (field.kind == Kind::Object) {
        ASSERT_NE(field.type, nullptr);
      }
      if (field.proto != 0) {
        EXPECT_TRUE(numbers.insert(field.proto).second) << "a number is used twice";
        EXPECT_EQ(type.find_proto(field.proto), &field);
      }
      EXPECT_EQ(type.find(field.name), field.inlined ? nullptr : &field);
      if (!field.default_json.empty()) {
        EXPECT_FALSE(Json::parse(field.default_json, nullptr, false).is_discarded());
      }
      const bool merges = field.patch_strategy.find("merge") != std::string::npos;
      if (merges) {
        EXPECT_EQ(field.shape, Shape::List);
      }
      if (merges && field.kind == Kind::Object) {
        ASSERT_FALSE(field.patch_merge_key.empty());
        EXPECT_NE(field.type->find(field.patch_merge_key), nullptr);
      }
      for (const std::string& key : field.list_map_keys)
        EXPECT_NE(field.type->find(key), nullptr) << key;
    }
  }
}

TEST(Schema, EveryFieldOfAnObjectHasANumberOrIsTypeMeta) {
  // Fields of inlined messages have their number there; the last type's list has none upstream.
  const std::set<std::string> owners = {"core.v1.Volume", "core.v1.Probe",
                                        "core.v1.EphemeralContainer",
                                        "core.v1.NodeAllocatableResourceClaimStatus"};
  for (const auto& [name, type] : Schema::instance().types()) {
    if (owners.contains(name)) continue;
    std::set<std::string> inlined;
    for (const SchemaField& field : type.fields)
      if (field.inlined)
        for (const SchemaField& inner : field.type->fields) inlined.insert(inner.name);
    for (const SchemaField& field : type.fields) {
      if (field.name == "apiVersion" || field.name == "kind" || inlined.contains(field.name))
        continue;
      EXPECT_NE(field.proto, 0) << name << "." << field.name;
    }
  }
}

TEST(Schema, KnowsTheFactsThatMatterMost) {
  const SchemaType& service = type_of("core.v1.ServiceSpec");
  const SchemaField* ports = service.find("ports");
  ASSERT_NE(ports, nullptr);
  EXPECT_EQ(ports->shape, Shape::List);
  EXPECT_EQ(ports->patch_merge_key, "port");
  EXPECT_EQ(ports->list_map_keys, (std::vector<std::string>{"port", "protocol"}));
  EXPECT_EQ(ports->type->find("targetPort")->kind, Kind::IntOrString);
  EXPECT_EQ(ports->type->find("protocol")->default_json, "\"TCP\"");
  EXPECT_EQ(type_of("core.v1.Secret").find("data")->kind, Kind::Bytes);
  EXPECT_EQ(type_of("core.v1.Secret").find("data")->shape, Shape::Map);
  EXPECT_EQ(type_of("meta.v1.ObjectMeta").find("creationTimestamp")->kind, Kind::Time);
  EXPECT_EQ(type_of("coordination.v1.LeaseSpec").find("renewTime")->kind, Kind::MicroTime);
  EXPECT_EQ(type_of("core.v1.Endpoints").find("subsets")->patch_strategy, "");
  EXPECT_TRUE(type_of("meta.v1.DeleteOptions").find("gracePeriodSeconds")->pointer);
  EXPECT_FALSE(type_of("core.v1.ServicePort").find("nodePort")->pointer);
  EXPECT_EQ(type_of("core.v1.Pod").find("nosuch"), nullptr);
}

TEST(Schema, DescribesTheKindsAndTheNetworkingTypes) {
  for (const auto& [name, type] : Schema::instance().types()) {
    SCOPED_TRACE(name);
    const bool networking =
        (name.starts_with("core.v1.Service") && name != "core.v1.ServiceAccountTokenProjection") ||
        name.starts_with("core.v1.Endpoint") || name.starts_with("core.v1.LoadBalancer") ||
        name.starts_with("discovery.v1.") || name == "meta.v1.ObjectMeta" || name == "core.v1.Pod";
    // An object is what has a kind and metadata of its own.
    const bool object = type.find("kind") != nullptr && type.find("metadata") != nullptr;
    if (networking || object) {
      EXPECT_FALSE(type.description.empty());
    }
    for (const SchemaField& field : type.fields) {
      if (!networking && !object) continue;
      EXPECT_FALSE(field.description.empty()) << field.name;
    }
  }
}

TEST(Schema, FindsKindsByApiVersion) {
  struct Case {
    const char* api_version;
    const char* kind;
    const char* type;
  };
  const Case cases[] = {{"v1", "Pod", "core.v1.Pod"},
                        {"v1", "ServiceList", "core.v1.ServiceList"},
                        {"discovery.k8s.io/v1", "EndpointSlice", "discovery.v1.EndpointSlice"},
                        {"coordination.k8s.io/v1", "Lease", "coordination.v1.Lease"},
                        {"policy/v1", "DeleteOptions", "meta.v1.DeleteOptions"},
                        {"v1", "Status", "meta.v1.Status"}};
  for (const Case& c : cases) {
    SCOPED_TRACE(c.type);
    const SchemaType* type = Schema::instance().find_kind(c.api_version, c.kind);
    ASSERT_NE(type, nullptr);
    EXPECT_EQ(type->name, c.type);
  }
  EXPECT_EQ(Schema::instance().find_kind("v1", "Nothing"), nullptr);
  EXPECT_EQ(Schema::instance().find_kind("", ""), nullptr);
  EXPECT_EQ(Schema::instance().find_kind("/", "Pod"), nullptr);
}

}  // namespace
}  // namespace coracle
