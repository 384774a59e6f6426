#include "apiserver/openapi.h"

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "apiserver/protobuf.h"
#include "schema_test_kinds.h"

namespace coracle {
namespace {

Json v3(const char* path) {
  const auto text = openapi_v3_document(test_kinds(), path);
  EXPECT_TRUE(text) << path;
  return text ? Json::parse(*text) : Json();
}

// Every "$ref" below the value.
void references(const Json& value, std::set<std::string>& found) {
  if (!value.is_structured()) return;
  if (value.is_object() && value.contains("$ref") && value["$ref"].is_string())
    found.insert(value["$ref"].get<std::string>());
  for (const Json& item : value) references(item, found);
}

bool has_parameter(const Json& operation, const std::string& name) {
  for (const Json& p : operation["parameters"])
    if (p["name"] == name && p["in"] == "query") return true;
  return false;
}

TEST(OpenApi, IndexPointsAtDocuments) {
  const Json index = Json::parse(openapi_v3_index(test_kinds()));
  ASSERT_EQ(index["paths"].size(), 3U);
  for (const auto& [path, entry] : index["paths"].items()) {
    const auto document = openapi_v3_document(test_kinds(), path);
    ASSERT_TRUE(document) << path;
    EXPECT_EQ(entry["serverRelativeURL"],
              "/openapi/v3/" + path + "?hash=" + openapi_hash(*document));
  }
  EXPECT_TRUE(is_not_found(openapi_v3_document(test_kinds(), "apis/apps/v1").error()));
  EXPECT_TRUE(is_not_found(openapi_v3_document(test_kinds(), "").error()));
}

TEST(OpenApi, ReferencesResolve) {
  for (const char* path : {"api/v1", "apis/discovery.k8s.io/v1", "apis/coordination.k8s.io/v1"}) {
    const Json document = v3(path);
    std::set<std::string> found;
    references(document, found);
    EXPECT_FALSE(found.empty());
    for (const std::string& reference : found) {
      ASSERT_TRUE(reference.starts_with("#/components/schemas/")) << reference;
      EXPECT_TRUE(document["components"]["schemas"].contains(reference.substr(21))) << reference;
    }
  }
  const Json document = Json::parse(openapi_v2_json(test_kinds()));
  std::set<std::string> found;
  references(document, found);
  for (const std::string& reference : found)
    EXPECT_TRUE(document["definitions"].contains(reference.substr(14))) << reference;
}

TEST(OpenApi, PatchOperationsPromiseServerSideChecks) {
  for (const ResourceKind& kind : test_kinds()) {
    const Resource& r = kind.resource;
    SCOPED_TRACE(r.kind);
    const std::string root = (r.group.empty() ? "api/" : "apis/") + r.api_version();
    const std::string path =
        "/" + root + "/" + (r.namespaced ? "namespaces/{namespace}/" : "") + r.plural + "/{name}";
    const Json gvk = {{"group", r.group}, {"version", r.version}, {"kind", r.kind}};
    const Json documents[] = {v3(root.c_str()), Json::parse(openapi_v2_json(test_kinds()))};
    for (const Json& document : documents) {
      ASSERT_TRUE(document["paths"].contains(path));
      const Json& patch = document["paths"][path]["patch"];
      EXPECT_EQ(patch["x-kubernetes-group-version-kind"], gvk);
      for (const char* name : {"fieldValidation", "dryRun", "fieldManager"})
        EXPECT_TRUE(has_parameter(patch, name)) << name;
    }
    EXPECT_TRUE(documents[0]["paths"][path]["patch"]["requestBody"]["content"].contains(
        "application/strategic-merge-patch+json"));
    const std::string definition = openapi::definition_name(kind.schema_type);
    EXPECT_EQ(documents[0]["components"]["schemas"][definition]["x-kubernetes-group-version-kind"],
              Json::array({gvk}));
  }
}

TEST(OpenApi, CarriesWhatKubectlMergesBy) {
  const Json schemas = v3("api/v1")["components"]["schemas"];
  const Json& ports = schemas["io.k8s.api.core.v1.ServiceSpec"]["properties"]["ports"];
  EXPECT_EQ(ports["x-kubernetes-patch-merge-key"], "port");
  EXPECT_EQ(ports["x-kubernetes-patch-strategy"], "merge");
  EXPECT_EQ(ports["x-kubernetes-list-map-keys"], (Json{"port", "protocol"}));
  EXPECT_EQ(ports["items"]["allOf"][0]["$ref"],
            "#/components/schemas/io.k8s.api.core.v1.ServicePort");
  const Json& meta = schemas["io.k8s.api.core.v1.Service"]["properties"]["metadata"];
  EXPECT_EQ(meta["allOf"][0]["$ref"],
            "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
  EXPECT_FALSE(schemas.contains("io.k8s.api.core.v1.VolumeSource"));
  EXPECT_FALSE(schemas["io.k8s.api.core.v1.Volume"]["properties"].contains("volumeSource"));
}

// Reads the v2 document back: name -> message, at the numbers kubectl's decoder uses.
std::map<std::string, std::string> named(std::string_view message, int number) {
  std::map<std::string, std::string> out;
  protobuf::Reader reader(message);
  while (reader.next()) {
    if (reader.number() != number) continue;
    protobuf::Reader pair(reader.bytes());
    std::string name;
    std::string value;
    while (pair.next()) (pair.number() == 1 ? name : value) = pair.bytes();
    EXPECT_TRUE(pair.ok());
    out[name] = value;
  }
  EXPECT_TRUE(reader.ok());
  return out;
}

std::string field(std::string_view message, int number) {
  protobuf::Reader reader(message);
  std::string out;
  while (reader.next())
    if (reader.number() == number) out = reader.bytes();
  EXPECT_TRUE(reader.ok());
  return out;
}

TEST(OpenApi, EncodesV2AsGnosticDoes) {
  const std::string document = openapi_v2_protobuf(test_kinds());
  EXPECT_EQ(field(document, 1), "2.0");
  const auto definitions = named(field(document, 9), 1);
  const Json json = Json::parse(openapi_v2_json(test_kinds()));
  EXPECT_EQ(definitions.size(), json["definitions"].size());
  const std::string& service = definitions.at("io.k8s.api.core.v1.Service");
  const auto properties = named(field(service, 25), 1);
  EXPECT_EQ(properties.size(), 5U);
  EXPECT_EQ(field(properties.at("spec"), 1), "#/definitions/io.k8s.api.core.v1.ServiceSpec");
  EXPECT_EQ(field(named(service, 31).at("x-kubernetes-group-version-kind"), 2),
            R"([{"group":"","kind":"Service","version":"v1"}])");
  const auto paths = named(field(document, 8), 2);
  EXPECT_EQ(paths.size(), json["paths"].size());
  const std::string patch = field(paths.at("/api/v1/namespaces/{namespace}/services/{name}"), 8);
  EXPECT_EQ(field(named(patch, 13).at("x-kubernetes-group-version-kind"), 2),
            R"({"group":"","kind":"Service","version":"v1"})");
  std::set<std::string> query;
  protobuf::Reader reader(patch);
  while (reader.next()) {
    if (reader.number() != 8) continue;
    const std::string parameter = field(field(field(reader.bytes(), 1), 2), 3);
    if (!parameter.empty()) query.insert(field(parameter, 4));
  }
  EXPECT_TRUE(query.contains("dryRun"));
  EXPECT_TRUE(query.contains("fieldValidation"));
}

TEST(OpenApi, WritesTheSameTwice) {
  EXPECT_EQ(openapi_v2_protobuf(test_kinds()), openapi_v2_protobuf(test_kinds()));
  EXPECT_EQ(openapi_v3_index(test_kinds()), openapi_v3_index(test_kinds()));
}

}  // namespace
}  // namespace coracle
