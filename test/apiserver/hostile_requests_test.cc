// Small requests that would cost a naive server minutes or gigabytes. Each is refused with a clear
// 4xx, or costs no more than its own size.
#include <gmock/gmock.h>

#include "requests_fixture.h"

namespace coracle {
namespace {

using ::testing::HasSubstr;
using namespace resources;

constexpr const char* kCore = "/api/v1/namespaces/default/";

class HostileRequestsTest : public RequestsFixture {
 protected:
  Response patch_as(const std::string& path, const std::string& type, const std::string& body) {
    return ask("PATCH", kCore + path, {{"Content-Type", "application/" + type}}, body);
  }
  Response post(const std::string& path, const Json& body, const std::string& query = "") {
    return ask("POST", kCore + path + query, {}, body.dump());
  }
  static std::string message(const Response& response) {
    return json_string(response.json(), {"message"});
  }
  // `count` times the text, "#" replaced by a number.
  static std::string repeated(const std::string& text, int count) {
    std::string out;
    const std::size_t mark = text.find('#');
    for (int i = 0; i < count; ++i)
      out += (i == 0 ? "" : ",") + text.substr(0, mark) + std::to_string(i) + text.substr(mark + 1);
    return out;
  }
};

TEST_F(HostileRequestsTest, ManyInsertionsIntoALongList) {
  make(kConfigMaps, config_map("a"));
  const std::string list = R"([{"op":"add","path":"/x","value":[)" + repeated("#", 100'000) + "]},";
  Response response =
      patch_as("configmaps/a", "json-patch+json",
               list + repeated(R"({"op":"add","path":"/x/0","value":#})", 5000) + "]");
  EXPECT_EQ(response.code, 422);
  EXPECT_THAT(message(response), HasSubstr("moves too many list elements"));
  response = patch_as("configmaps/a", "json-patch+json",
                      list + repeated(R"({"op":"remove","path":"/x/0","#":0})", 5000) + "]");
  EXPECT_THAT(message(response), HasSubstr("moves too many list elements"));
}

TEST_F(HostileRequestsTest, CopiesThatDoubleTheDocument) {
  make(kConfigMaps, config_map("a"));
  const Response response =
      patch_as("configmaps/a", "json-patch+json",
               "[" + repeated(R"({"op":"copy","from":"","path":"/d#"})", 40) + "]");
  EXPECT_EQ(response.code, 422);
  EXPECT_THAT(message(response), HasSubstr("copies too much"));
}

TEST_F(HostileRequestsTest, OneListElementNamedManyTimes) {
  make(kPods, simple_pod("p"));
  const auto body = [](int count) {
    return R"({"spec":{"containers":[)" +
           repeated(R"({"name":"c","env":[{"name":"e#","value":"v"}]})", count) + "]}}";
  };
  const Response response = patch_as("pods/p", "strategic-merge-patch+json", body(40'000));
  EXPECT_EQ(response.code, 422);
  EXPECT_THAT(message(response), HasSubstr("names the same list elements too often"));
  EXPECT_THAT(message(patch_as("pods/p", "strategic-merge-patch+json", body(3))),
              HasSubstr("pod updates may not change fields"))
      << "merged, as few of them are";
}

TEST_F(HostileRequestsTest, SelectorsAreBounded) {
  make(kConfigMaps, config_map("a"));
  const auto list = [&](const std::string& name, const std::string& selector) {
    return get(std::string(kCore) + "configmaps?" + name + "=" + selector);
  };
  EXPECT_EQ(list("labelSelector", repeated("!l#", 500)).names(), "a");
  EXPECT_EQ(list("labelSelector", "l%20notin%20(" + repeated("v#", 50'000) + ")").names(), "a");
  EXPECT_EQ(list("fieldSelector", repeated("metadata.name!%3Dx#", 100)).names(), "a");
  const Response labels = list("labelSelector", repeated("!l#", 501));
  EXPECT_EQ(labels.code, 400);
  EXPECT_THAT(message(labels), HasSubstr("at most 500 requirements"));
  const Response fields = list("fieldSelector", repeated("metadata.name!%3Dx#", 101));
  EXPECT_EQ(fields.code, 400);
  EXPECT_THAT(message(fields), HasSubstr("at most 100 terms"));
}

TEST_F(HostileRequestsTest, AnObjectCannotGrowByPatches) {
  Json endpoints = {{"metadata", {{"name", "e"}}}};
  endpoints["subsets"] = Json::parse(
      "[{\"addresses\":[" + repeated(R"({"ip":"10.0.0.1","hostname":"h#"})", 30'000) + "]}]");
  ASSERT_EQ(post("endpoints", endpoints).code, 201);
  const std::string copy = R"([{"op":"copy","from":"/subsets/0","path":"/subsets/-"}])";
  EXPECT_EQ(patch_as("endpoints/e", "json-patch+json", copy).code, 200);
  const Response response = patch_as("endpoints/e", "json-patch+json", copy);
  EXPECT_EQ(response.code, 413) << response.body.substr(0, 200);
  EXPECT_THAT(message(response), HasSubstr("limit is 3145728"));
  EXPECT_EQ(stored(kEndpoints, "e")["subsets"].size(), 2U);
}

TEST_F(HostileRequestsTest, ManyFinalizersOfAnObjectThatIsBeingDeleted) {
  Json object = config_map("a");
  object["metadata"]["finalizers"] = Json::parse("[" + repeated("\"a/f#\"", 100'000) + "]");
  ASSERT_EQ(post("configmaps", object).code, 201);
  ASSERT_TRUE(remove(kConfigMaps, "a"));
  object["metadata"]["finalizers"] = Json::parse("[" + repeated("\"b/f#\"", 100'000) + "]");
  const Response response = ask("PUT", std::string(kCore) + "configmaps/a", {}, object.dump());
  EXPECT_EQ(response.code, 422);
  EXPECT_THAT(message(response), HasSubstr("no new finalizers can be added"));
}

TEST_F(HostileRequestsTest, ManyTolerations) {
  Json pod = simple_pod("p");
  pod["spec"]["tolerations"] =
      Json::parse("[" + repeated(R"({"key":"k#","operator":"Exists"})", 50'000) + "]");
  ASSERT_EQ(post("pods", pod).code, 201);
  const std::string add =
      R"([{"op":"add","path":"/spec/tolerations/0","value":{"key":"k","operator":"Exists"}}])";
  EXPECT_EQ(patch_as("pods/p", "json-patch+json", add).code, 200);
}

TEST_F(HostileRequestsTest, AServiceWithMorePortsThanThereAre) {
  Json service = simple_service("s");
  Json ports = Json::array();
  for (int i = 1; i <= 30'000; ++i)
    ports.push_back({{"name", "p" + std::to_string(i)}, {"port", i}});
  service["spec"]["ports"] = ports;
  ASSERT_EQ(post("services", service).code, 201);
  const Response full =
      patch_as("services/s", "merge-patch+json", R"({"spec":{"type":"NodePort"}})");
  EXPECT_EQ(full.code, 500);
  EXPECT_THAT(message(full), HasSubstr("range is full"));
  EXPECT_EQ(post("services", simple_service("t", {{"type", "NodePort"}})).code, 201)
      << "what was taken is given back";
}

TEST_F(HostileRequestsTest, ManyBadFieldsMakeNoEndlessAnswer) {
  Json service = simple_service("s");
  service["spec"]["ports"] = Json::parse("[" + repeated(R"({"port":0,"name":"p#"})", 50'000) + "]");
  Response response = post("services", service);
  EXPECT_EQ(response.code, 422);
  EXPECT_LE(response.json()["details"]["causes"].size(), 1001U);
  EXPECT_THAT(message(response), HasSubstr("Too many errors"));
  Json object = config_map("a");
  object["metadata"]["ownerReferences"] = Json::parse(
      "[" +
      repeated(R"({"apiVersion":"v1","kind":"A","name":"a#","uid":"u","controller":true})",
               20'000) +
      "]");
  response = post("configmaps", object);
  EXPECT_EQ(response.code, 422);
  EXPECT_EQ(response.json()["details"]["causes"].size(), 1U);
}

TEST_F(HostileRequestsTest, FieldNamesDoNotBecomeHeaders) {
  Json object = config_map("a");
  object["x\r\nSet-Cookie: y"] = 1;
  const Response response = post("configmaps", object);
  EXPECT_EQ(response.code, 201);
  ASSERT_EQ(response.headers.size(), 1U);
  EXPECT_EQ(response.headers[0].second.find_first_of("\r\n"), std::string::npos);
}

}  // namespace
}  // namespace coracle
