// Every verb over HTTPS against an in-process server.
#include <gmock/gmock.h>

#include "support/api_fixture.h"

namespace coracle {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kMaps = "/api/v1/namespaces/default/configmaps";
constexpr const char* kTable =
    "Accept: application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

class HandlersTest : public ClusterFixture {
 protected:
  Json made(const std::string& name) {
    const Reply reply = post(kMaps, config_map(name));
    EXPECT_EQ(reply.code, 201) << reply.body;
    return reply.json();
  }
  Reply patch(const std::string& path, const std::string& type, const std::string& body) {
    CallOptions options;
    options.headers = {"Content-Type: " + type};
    return call("PATCH", path, body, options);
  }
  static std::string map(const std::string& name) { return std::string(kMaps) + "/" + name; }
};

TEST_F(HandlersTest, CreateGetUpdateDelete) {
  const Json created = made("a");
  EXPECT_EQ(json_string(created, {"metadata", "namespace"}), "default");
  EXPECT_NE(json_string(created, {"metadata", "uid"}), "");
  Reply reply = get(map("a"));
  EXPECT_EQ(reply.code, 200);
  EXPECT_EQ(reply.header("content-type"), "application/json");
  EXPECT_EQ(reply.json(), created);
  Json changed = created;
  changed["data"]["k"] = "w";
  reply = call("PUT", map("a"), changed.dump());
  EXPECT_EQ(reply.code, 200);
  EXPECT_EQ(reply.json()["data"]["k"], "w");
  reply = call("PUT", map("a"), changed.dump());  // its resourceVersion is old now
  EXPECT_EQ(reply.code, 409);
  EXPECT_EQ(reply.reason(), "Conflict");
  reply = call("DELETE", map("a"), R"({"propagationPolicy":"Background"})");
  EXPECT_EQ(reply.code, 200);
  EXPECT_EQ(json_string(reply.json(), {"status"}), "Success");
  EXPECT_EQ(json_string(reply.json(), {"details", "uid"}),
            json_string(created, {"metadata", "uid"}));
  reply = get(map("a"));
  EXPECT_EQ(reply.code, 404);
  EXPECT_EQ(json_string(reply.json(), {"message"}), "configmaps \"a\" not found");
  EXPECT_EQ(json_string(reply.json(), {"details", "kind"}), "configmaps");
  EXPECT_EQ(call("DELETE", map("a")).code, 404);
}

TEST_F(HandlersTest, CreateRefusals) {
  made("a");
  const Reply twice = post(kMaps, config_map("a"));
  EXPECT_EQ(twice.code, 409);
  EXPECT_EQ(twice.reason(), "AlreadyExists");
  EXPECT_EQ(json_string(twice.json(), {"details", "name"}), "a");
  EXPECT_EQ(post(kMaps, config_map("Bad_Name")).code, 422);
  EXPECT_EQ(post("/api/v1/namespaces/none/configmaps", config_map("a")).code, 404);
  EXPECT_EQ(post("/api/v1/configmaps", config_map("a")).code, 405);
  Json other = config_map("b");
  other["metadata"]["namespace"] = "other";
  EXPECT_EQ(post(kMaps, other).code, 400);
  other = config_map("b");
  other["kind"] = "Secret";
  EXPECT_EQ(post(kMaps, other).code, 400);
  other["kind"] = "ConfigMap";
  other["apiVersion"] = "v2";
  EXPECT_EQ(post(kMaps, other).code, 400);
  EXPECT_EQ(call("POST", kMaps).code, 400);
}

TEST_F(HandlersTest, BodiesInEveryFormat) {
  CallOptions yaml;
  yaml.headers = {"Content-Type: application/yaml"};
  EXPECT_EQ(call("POST", kMaps,
                 "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: y\ndata:\n  k: v\n", yaml)
                .code,
            201);
  CallOptions none;
  none.headers = {"Content-Type:"};
  EXPECT_EQ(call("POST", kMaps, R"({"metadata":{"name":"plain"}})", none).code, 201);
  // k8s\0 + Unknown{typeMeta{v1, ConfigMap}, raw{metadata{name "pb"}}}
  std::string proto("k8s\0", 4);
  proto +=
      "\x0a\x0f\x0a\x02v1\x12\x09"
      "ConfigMap";
  proto += "\x12\x06\x0a\x04\x0a\x02pb";
  CallOptions protobuf;
  protobuf.headers = {"Content-Type: application/vnd.kubernetes.protobuf",
                      "Accept: application/vnd.kubernetes.protobuf,application/json"};
  const Reply reply = call("POST", kMaps, proto, protobuf);
  EXPECT_EQ(reply.code, 201) << reply.body;
  EXPECT_EQ(json_string(reply.json(), {"metadata", "name"}), "pb");
  CallOptions text;
  text.headers = {"Content-Type: text/plain"};
  EXPECT_EQ(call("POST", kMaps, "{}", text).code, 415);
}

TEST_F(HandlersTest, FieldValidation) {
  Json object = config_map("a");
  object["datum"] = 1;
  Reply reply = post(std::string(kMaps) + "?fieldValidation=Strict", object);
  EXPECT_EQ(reply.code, 400);
  EXPECT_THAT(
      json_string(reply.json(), {"message"}),
      HasSubstr(
          "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: "
          "unknown field \"datum\""));
  reply = post(kMaps, object);
  EXPECT_EQ(reply.code, 201);
  EXPECT_EQ(reply.header("warning"), "299 - \"unknown field \\\"datum\\\"\"");
  EXPECT_FALSE(reply.json().contains("datum"));
  object["metadata"]["name"] = "b";
  reply = post(std::string(kMaps) + "?fieldValidation=Ignore", object);
  EXPECT_EQ(reply.code, 201);
  EXPECT_EQ(reply.header("warning"), "");
  EXPECT_EQ(post(std::string(kMaps) + "?fieldValidation=Maybe", object).code, 422);
  reply = call("POST", std::string(kMaps) + "?fieldValidation=Strict",
               R"({"metadata":{"name":"d","name":"e"},"data":{"a":"b"}})");
  EXPECT_EQ(reply.code, 400);
  EXPECT_THAT(reply.body, HasSubstr("duplicate field"));
  EXPECT_EQ(call("POST", kMaps, R"({"metadata":{"name":"d"},"data":{"a":1}})").code, 400);
}

TEST_F(HandlersTest, DryRunStoresNothing) {
  Reply reply = post(std::string(kMaps) + "?dryRun=All&fieldManager=test", config_map("a"));
  EXPECT_EQ(reply.code, 201);
  EXPECT_NE(json_string(reply.json(), {"metadata", "uid"}), "");
  EXPECT_EQ(get(map("a")).code, 404);
  EXPECT_EQ(post(std::string(kMaps) + "?dryRun=Some", config_map("a")).code, 422);
  EXPECT_EQ(
      post(std::string(kMaps) + "?fieldManager=" + std::string(129, 'x'), config_map("a")).code,
      422);
  made("a");
  EXPECT_EQ(call("DELETE", map("a"), R"({"dryRun":["All"]})").code, 200);
  EXPECT_EQ(call("DELETE", map("a") + "?dryRun=All").code, 200);
  EXPECT_EQ(get(map("a")).code, 200);
}

TEST_F(HandlersTest, Patches) {
  made("a");
  Reply reply = patch(map("a"), "application/merge-patch+json", R"({"data":{"x":"1","k":null}})");
  EXPECT_EQ(reply.code, 200) << reply.body;
  EXPECT_EQ(reply.json()["data"], Json::parse(R"({"x":"1"})"));
  reply = patch(map("a"), "application/json-patch+json",
                R"([{"op":"add","path":"/data/y","value":"2"}])");
  EXPECT_EQ(reply.json()["data"]["y"], "2");
  reply = patch(map("a"), "application/strategic-merge-patch+json",
                R"({"metadata":{"labels":{"l":"m"}}})");
  EXPECT_EQ(json_string(reply.json(), {"metadata", "labels", "l"}), "m");
  const std::string revision = json_string(reply.json(), {"metadata", "resourceVersion"});
  reply = patch(map("a"), "application/merge-patch+json", "{}");
  EXPECT_EQ(json_string(reply.json(), {"metadata", "resourceVersion"}), revision)
      << "a patch that changes nothing";
  EXPECT_EQ(patch(map("a"), "application/apply-patch+yaml", "{}").code, 415);
  EXPECT_EQ(patch(map("a"), "application/json", "{}").code, 415);
  EXPECT_EQ(patch(map("b"), "application/merge-patch+json", "{}").code, 404);
  EXPECT_EQ(patch(map("a"), "application/merge-patch+json", R"({"data":{"x":7}})").code, 400);
  EXPECT_EQ(
      patch(map("a"), "application/merge-patch+json", R"({"metadata":{"resourceVersion":"1"}})")
          .code,
      409);
  reply =
      patch(map("a") + "?fieldValidation=Strict", "application/merge-patch+json", R"({"nope":1})");
  EXPECT_EQ(reply.code, 400);
  const std::string twice = R"({"data":{"x":"1","x":"2"}})";
  reply = patch(map("a") + "?fieldValidation=Strict", "application/merge-patch+json", twice);
  EXPECT_EQ(reply.code, 400);
  EXPECT_THAT(reply.body, HasSubstr("duplicate field \\\"data.x\\\""));
  reply = patch(map("a"), "application/merge-patch+json", twice);
  EXPECT_EQ(reply.header("warning"), "299 - \"duplicate field \\\"data.x\\\"\"");
}

TEST_F(HandlersTest, ListsPagesAndSelectors) {
  for (const char* name : {"a", "b", "c", "d", "e"}) made(name);
  patch(map("b"), "application/merge-patch+json", R"({"metadata":{"labels":{"app":"web"}}})");
  Reply reply = get(kMaps);
  EXPECT_EQ(reply.json()["kind"], "ConfigMapList");
  EXPECT_EQ(reply.json()["items"].size(), 5U);
  EXPECT_FALSE(reply.json()["items"][0].contains("kind"));
  EXPECT_NE(json_string(reply.json(), {"metadata", "resourceVersion"}), "");
  std::string seen, token;
  const std::string first =
      json_string(get(std::string(kMaps) + "?limit=2").json(), {"metadata", "resourceVersion"});
  for (int page = 0; page < 4; ++page) {
    reply = get(std::string(kMaps) + "?limit=2" + (token.empty() ? "" : "&continue=" + token));
    EXPECT_EQ(json_string(reply.json(), {"metadata", "resourceVersion"}), first);
    const Json document = reply.json();
    for (const Json& item : document["items"]) seen += json_string(item, {"metadata", "name"});
    token = json_string(reply.json(), {"metadata", "continue"});
    if (token.empty()) break;
  }
  EXPECT_EQ(seen, "abcde");
  EXPECT_EQ(get(std::string(kMaps) + "?labelSelector=app%3Dweb").json()["items"].size(), 1U);
  EXPECT_EQ(get(std::string(kMaps) + "?labelSelector=%21app").json()["items"].size(), 4U);
  EXPECT_EQ(get(std::string(kMaps) + "?fieldSelector=metadata.name%3Dc").json()["items"].size(),
            1U);
  EXPECT_EQ(get("/api/v1/configmaps").json()["items"].size(), 5U);
  EXPECT_EQ(get("/api/v1/namespaces/other/configmaps").json()["items"], Json::array());
}

TEST_F(HandlersTest, BadListParametersAre4xx) {
  for (const char* query :
       {"limit=x", "limit=-1", "resourceVersion=abc", "resourceVersion=-5",
        "labelSelector=a%20b%20c", "labelSelector=in%20(", "fieldSelector=spec.nope%3Dx",
        "continue=%21%21", "continue=YWJj", "resourceVersionMatch=Exact",
        "resourceVersion=5&resourceVersionMatch=Sometimes", "sendInitialEvents=true&watch=1",
        "includeObject=All", "watch=1&timeoutSeconds=x", "watch=1&resourceVersion=x",
        "watch=1&labelSelector=%3D%3D%3D", "a=%zz"}) {
    const Reply reply = get(std::string(kMaps) + "?" + query);
    EXPECT_TRUE(reply.code == 400 || reply.code == 422)
        << query << ": " << reply.code << " " << reply.body;
    EXPECT_EQ(json_string(reply.json(), {"kind"}), "Status") << query;
  }
  const Reply future = get(std::string(kMaps) + "?resourceVersion=999999999999");
  EXPECT_EQ(future.code, 504);
  EXPECT_THAT(future.body, HasSubstr("ResourceVersionTooLarge"));
}

TEST_F(HandlersTest, TablesAndMetadataOnly) {
  made("a");
  Json table = get(kMaps, {kTable}).json();
  EXPECT_EQ(table["kind"], "Table");
  EXPECT_EQ(table["rows"].size(), 1U);
  EXPECT_EQ(table["columnDefinitions"][0]["name"], "Name");
  EXPECT_EQ(table["rows"][0]["cells"][0], "a");
  EXPECT_EQ(json_string(table["rows"][0], {"object", "kind"}), "PartialObjectMetadata");
  table = get(map("a") + "?includeObject=Object", {kTable}).json();
  EXPECT_EQ(json_string(table["rows"][0], {"object", "data", "k"}), "v");
  EXPECT_EQ(get("/api/v1/namespaces/other/configmaps", {kTable}).json()["rows"], Json::array());
  const Json partial =
      get(kMaps, {"Accept: application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"})
          .json();
  EXPECT_EQ(partial["kind"], "PartialObjectMetadataList");
  EXPECT_FALSE(partial["items"][0].contains("data"));
}

TEST_F(HandlersTest, Negotiation) {
  made("a");
  EXPECT_EQ(get(map("a"), {"Accept: text/csv"}).code, 406);
  EXPECT_EQ(get(map("a"), {"Accept: application/vnd.kubernetes.protobuf"}).code, 406);
  EXPECT_EQ(get(map("a"), {"Accept: application/vnd.kubernetes.protobuf, */*"}).code, 200);
  const Reply yaml = get(map("a"), {"Accept: application/yaml"});
  EXPECT_EQ(yaml.header("content-type"), "application/yaml");
  EXPECT_THAT(yaml.body, HasSubstr("metadata:\n  creationTimestamp: "));
  EXPECT_THAT(get(map("a") + "?pretty=true").body, HasSubstr("\n  \"data\""));
  EXPECT_THAT(get(map("a")).body, Not(HasSubstr("\n  ")));
}

TEST_F(HandlersTest, DeleteCollection) {
  for (const char* name : {"a", "b", "c"}) made(name);
  patch(map("b"), "application/merge-patch+json", R"({"metadata":{"labels":{"keep":"yes"}}})");
  const Reply reply = call("DELETE", std::string(kMaps) + "?labelSelector=%21keep");
  EXPECT_EQ(reply.code, 200);
  EXPECT_EQ(reply.json()["items"].size(), 2U);
  EXPECT_EQ(get(kMaps).json()["items"].size(), 1U);
  EXPECT_EQ(call("DELETE", "/api/v1/namespaces").code, 405);
}

TEST_F(HandlersTest, DeletePreconditionsAndOptions) {
  made("a");
  EXPECT_EQ(call("DELETE", map("a"), R"({"preconditions":{"uid":"other"}})").code, 409);
  EXPECT_EQ(call("DELETE", map("a"), R"({"propagationPolicy":"Sideways"})").code, 422);
  EXPECT_EQ(call("DELETE", map("a"), R"({"gracePeriodSeconds":"x"})").code, 400);
  EXPECT_EQ(call("DELETE", map("a") + "?gracePeriodSeconds=x").code, 400);
  EXPECT_EQ(call("DELETE", map("a") + "?orphanDependents=true&propagationPolicy=Background").code,
            422);
  EXPECT_EQ(call("DELETE", map("a"), "[]").code, 400);
  EXPECT_EQ(call("DELETE", map("a") + "?propagationPolicy=Background&gracePeriodSeconds=0").code,
            200);
}

TEST_F(HandlersTest, FinalizersKeepTheObject) {
  Json object = config_map("a");
  object["metadata"]["finalizers"] = {"example.com/wait"};
  ASSERT_EQ(post(kMaps, object).code, 201);
  const Reply reply = call("DELETE", map("a"));
  EXPECT_EQ(reply.code, 200);
  EXPECT_EQ(reply.json()["kind"], "ConfigMap");
  EXPECT_NE(json_string(reply.json(), {"metadata", "deletionTimestamp"}), "");
  EXPECT_EQ(
      patch(map("a"), "application/merge-patch+json", R"({"metadata":{"finalizers":null}})").code,
      200);
  EXPECT_EQ(get(map("a")).code, 404);
}

TEST_F(HandlersTest, Subresources) {
  const Json pod = {{"metadata", {{"name", "p"}}},
                    {"spec", {{"containers", {{{"name", "c"}, {"image", "coracle/echo"}}}}}}};
  ASSERT_EQ(post("/api/v1/namespaces/default/pods", pod).code, 201);
  const std::string path = "/api/v1/namespaces/default/pods/p";
  const Reply status = patch(path + "/status", "application/merge-patch+json",
                             R"({"status":{"phase":"Running"},"spec":{"nodeName":"sneaky"}})");
  EXPECT_EQ(status.code, 200) << status.body;
  EXPECT_EQ(json_string(status.json(), {"status", "phase"}), "Running");
  EXPECT_EQ(json_string(status.json(), {"spec", "nodeName"}), "");
  EXPECT_EQ(get(path + "/status").code, 200);
  const Reply bound = post(path + "/binding", {{"target", {{"kind", "Node"}, {"name", "n1"}}}});
  EXPECT_EQ(bound.code, 201) << bound.body;
  EXPECT_EQ(json_string(bound.json(), {"status"}), "Success");
  EXPECT_EQ(json_string(get(path).json(), {"spec", "nodeName"}), "n1");
  EXPECT_EQ(get(path + "/nothing").code, 404);
  EXPECT_EQ(get(path + "/binding").code, 405);
  EXPECT_EQ(get(map("a") + "/status").code, 404);
}

TEST_F(HandlersTest, UnknownPathsAndMethods) {
  for (const char* path : {"/nothing", "/api/v2", "/api/v1/widgets", "/apis/none.example/v1",
                           "/apis/none.example", "/api/v1/namespaces/default/nodes",
                           "/api/v1/pods/x", "/openapi/v3/apis/none/v1", "/healthz/nope"}) {
    const Reply reply = get(path);
    EXPECT_EQ(reply.code, 404) << path << reply.body;
    EXPECT_EQ(reply.reason(), "NotFound") << path;
  }
  EXPECT_EQ(json_string(get("/nothing").json(), {"message"}),
            "the server could not find the requested resource");
  EXPECT_EQ(call("POST", map("a"), "{}").code, 405);
  EXPECT_EQ(call("POST", "/version", "{}").code, 405);
  EXPECT_EQ(call("OPTIONS", kMaps).code, 200);
  const Reply head = call("HEAD", kMaps);
  EXPECT_EQ(head.code, 200);
  EXPECT_EQ(head.body, "");
}

TEST_F(HandlersTest, HealthAndVersion) {
  EXPECT_EQ(get("/readyz").body, "ok");
  EXPECT_EQ(get("/readyz").header("content-type"), "text/plain; charset=utf-8");
  EXPECT_THAT(get("/readyz?verbose").body, HasSubstr("[+]started ok\nreadyz check passed"));
  server_->set_ready(false);
  EXPECT_EQ(get("/readyz").code, 500);
  EXPECT_EQ(get("/livez").code, 200);
  EXPECT_THAT(json_string(get("/version").json(), {"gitVersion"}), ::testing::StartsWith("v1."));
}

TEST_F(HandlersTest, DiscoveryAndOpenApi) {
  EXPECT_EQ(get("/api").json()["kind"], "APIVersions");
  EXPECT_EQ(get("/apis").json()["kind"], "APIGroupList");
  EXPECT_EQ(get("/api/v1").json()["kind"], "APIResourceList");
  const std::string accept =
      "Accept: "
      "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
  const Reply aggregated = get("/api", {accept});
  EXPECT_EQ(aggregated.json()["kind"], "APIGroupDiscoveryList");
  EXPECT_THAT(aggregated.header("content-type"), HasSubstr("as=APIGroupDiscoveryList"));
  EXPECT_EQ(aggregated.header("vary"), "Accept");
  EXPECT_EQ(get("/api", {accept, "If-None-Match: " + aggregated.header("etag")}).code, 304);
  EXPECT_EQ(get("/api", {"If-None-Match: " + aggregated.header("etag")}).code, 200);
  const Reply v2 =
      get("/openapi/v2", {"Accept: application/com.github.proto-openapi.spec.v2@v1.0+protobuf"});
  EXPECT_EQ(v2.code, 200);
  EXPECT_THAT(v2.header("content-type"), Not(HasSubstr("@")));
  EXPECT_EQ(get("/openapi/v2", {"Accept: application/json"}).json()["swagger"], "2.0");
  const Json index = get("/openapi/v3").json();
  const std::string url = json_string(index, {"paths", "api/v1", "serverRelativeURL"});
  EXPECT_EQ(get(url).json()["openapi"], "3.0.0") << url;
}

TEST_F(HandlersTest, LargeListsAreCompressedOnRequest) {
  for (int i = 0; i < 4; ++i) {
    ASSERT_EQ(post(kMaps, config_map("big" + std::to_string(i), std::string(100'000, 'x'))).code,
              201);
  }
  const Reply plain = get(kMaps);
  EXPECT_GT(plain.body.size(), 400'000U);
  const Reply packed = get(kMaps, {"Accept-Encoding: gzip"});
  EXPECT_EQ(packed.header("content-encoding"), "gzip");
  EXPECT_LT(packed.body.size(), 20'000U);
}

}  // namespace
}  // namespace coracle
