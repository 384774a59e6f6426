#include <gtest/gtest.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "apiserver/schema.h"

namespace coracle {
namespace {

struct Case {
  const char* name;
  const char* type;
  const char* document;
  const char* patch;
  const char* result;  // "" = the patch is refused
};

constexpr const char* kPod = "core.v1.Pod";
constexpr const char* kPodSpec = "core.v1.PodSpec";
constexpr const char* kMeta = "meta.v1.ObjectMeta";
constexpr const char* kService = "core.v1.ServiceSpec";

const Case kCases[] = {
    {"maps merge", kPod, R"({"metadata":{"labels":{"a":"1","b":"2"}}})",
     R"({"metadata":{"labels":{"b":null,"c":"3"}}})",
     R"({"metadata":{"labels":{"a":"1","c":"3"}}})"},
    {"list by key changes and keeps", kPodSpec,
     R"({"containers":[{"name":"c1","image":"a","tty":true},{"name":"c2","image":"b"}]})",
     R"({"containers":[{"name":"c1","image":"z"}]})",
     R"({"containers":[{"name":"c1","image":"z","tty":true},{"name":"c2","image":"b"}]})"},
    {"new element stands first without an order", kPodSpec, R"({"containers":[{"name":"c1"}]})",
     R"({"containers":[{"name":"c2"}]})", R"({"containers":[{"name":"c2"},{"name":"c1"}]})"},
    {"setElementOrder", kPodSpec, R"({"containers":[{"name":"c1"},{"name":"c2"}]})",
     R"({"$setElementOrder/containers":[{"name":"c1"},{"name":"c3"},{"name":"c2"}],"containers":[{"name":"c3","image":"x"}]})",
     R"({"containers":[{"name":"c1"},{"name":"c3","image":"x"},{"name":"c2"}]})"},
    {"setElementOrder alone", kPodSpec, R"({"containers":[{"name":"c1"},{"name":"c2"}]})",
     R"({"$setElementOrder/containers":[{"name":"c2"},{"name":"c1"}]})",
     R"({"containers":[{"name":"c2"},{"name":"c1"}]})"},
    {"setElementOrder keeps what only the server has in place", kPodSpec,
     R"({"containers":[{"name":"injected"},{"name":"c1"},{"name":"c2"}]})",
     R"({"$setElementOrder/containers":[{"name":"c1"},{"name":"c2"}],"containers":[{"name":"c2","image":"x"}]})",
     R"({"containers":[{"name":"injected"},{"name":"c1"},{"name":"c2","image":"x"}]})"},
    {"setElementOrder of an absent list", kPodSpec, R"({})",
     R"({"$setElementOrder/containers":[{"name":"c2"}]})", R"({})"},
    {"setElementOrder of a list that is replaced", kPodSpec, R"({"tolerations":[{"key":"a"}]})",
     R"({"$setElementOrder/tolerations":[{"key":"b"}],"tolerations":[{"key":"b"}]})",
     R"({"tolerations":[{"key":"b"}]})"},
    {"$patch delete in a list", kPodSpec, R"({"containers":[{"name":"c1"},{"name":"c2"}]})",
     R"({"containers":[{"$patch":"delete","name":"c2"}]})", R"({"containers":[{"name":"c1"}]})"},
    {"$patch delete of an absent element", kPodSpec, R"({"containers":[{"name":"c1"}]})",
     R"({"containers":[{"$patch":"delete","name":"c9"}]})", R"({"containers":[{"name":"c1"}]})"},
    {"$patch delete where there is no list", kPodSpec, R"({})",
     R"({"containers":[{"$patch":"delete","name":"c9"}]})", R"({"containers":[]})"},
    {"$patch replace in a list", kPodSpec, R"({"containers":[{"name":"c1"},{"name":"c2"}]})",
     R"({"containers":[{"$patch":"replace"},{"name":"c3"}]})", R"({"containers":[{"name":"c3"}]})"},
    {"$patch replace in a map", kPod, R"({"spec":{"securityContext":{"runAsUser":1,"fsGroup":2}}})",
     R"({"spec":{"securityContext":{"$patch":"replace","runAsUser":5}}})",
     R"({"spec":{"securityContext":{"runAsUser":5}}})"},
    {"$patch delete in a map", kPod,
     R"({"spec":{"securityContext":{"runAsUser":1},"nodeName":"n"}})",
     R"({"spec":{"securityContext":{"$patch":"delete"}}})", R"({"spec":{"nodeName":"n"}})"},
    {"$patch merge", kPod, R"({"spec":{"nodeName":"n"}})",
     R"({"spec":{"$patch":"merge","hostname":"h"}})",
     R"({"spec":{"nodeName":"n","hostname":"h"}})"},
    {"unknown $patch", kPod, R"({"spec":{}})", R"({"spec":{"$patch":"explode"}})", ""},
    {"$patch of another type", kPod, R"({"spec":{}})", R"({"spec":{"$patch":[1]}})", ""},
    {"retainKeys on a volume", kPodSpec, R"({"volumes":[{"name":"v","emptyDir":{}}]})",
     R"({"volumes":[{"$retainKeys":["hostPath","name"],"emptyDir":null,"hostPath":{"path":"/x"},"name":"v"}]})",
     R"({"volumes":[{"name":"v","hostPath":{"path":"/x"}}]})"},
    {"retainKeys drops what is not named", kPodSpec,
     R"({"securityContext":{"runAsUser":1,"fsGroup":2}})",
     R"({"securityContext":{"$retainKeys":["fsGroup"],"fsGroup":3}})",
     R"({"securityContext":{"fsGroup":3}})"},
    {"retainKeys that lacks a patched key", kPodSpec, R"({"securityContext":{"runAsUser":1}})",
     R"({"securityContext":{"$retainKeys":["runAsUser"],"fsGroup":3}})", ""},
    {"primitive merge", kMeta, R"({"finalizers":["a","b"]})", R"({"finalizers":["b","c"]})",
     R"({"finalizers":["a","b","c"]})"},
    {"deleteFromPrimitiveList", kMeta, R"({"finalizers":["a","b","a"]})",
     R"({"$deleteFromPrimitiveList/finalizers":["a"]})", R"({"finalizers":["b"]})"},
    {"delete, add and order scalars", kMeta, R"({"finalizers":["a","b"]})",
     R"({"$deleteFromPrimitiveList/finalizers":["a"],"$setElementOrder/finalizers":["c","b"],"finalizers":["c"]})",
     R"({"finalizers":["c","b"]})"},
    {"owner references by uid", kMeta, R"({"ownerReferences":[{"uid":"1","name":"x"}]})",
     R"({"ownerReferences":[{"uid":"1","controller":true}]})",
     R"({"ownerReferences":[{"uid":"1","name":"x","controller":true}]})"},
    {"service ports by port", kService, R"({"ports":[{"port":80,"nodePort":30080},{"port":443}]})",
     R"({"ports":[{"port":80,"targetPort":8080}]})",
     R"({"ports":[{"port":80,"nodePort":30080,"targetPort":8080},{"port":443}]})"},
    {"env in containers", kPodSpec,
     R"({"containers":[{"name":"c","env":[{"name":"A","value":"1"},{"name":"B","value":"2"}]}]})",
     R"({"containers":[{"name":"c","env":[{"$patch":"delete","name":"A"},{"name":"B","value":"3"}]}]})",
     R"({"containers":[{"name":"c","env":[{"name":"B","value":"3"}]}]})"},
    {"atomic lists are replaced", kPodSpec,
     R"({"tolerations":[{"key":"a"}],"containers":[{"name":"c","args":["1","2"]}]})",
     R"({"tolerations":[{"key":"b"}],"containers":[{"name":"c","args":["3"]}]})",
     R"({"tolerations":[{"key":"b"}],"containers":[{"name":"c","args":["3"]}]})"},
    {"clusterIPs are replaced", kService, R"({"clusterIPs":["10.0.0.1"]})",
     R"({"clusterIPs":["10.0.0.2"]})", R"({"clusterIPs":["10.0.0.2"]})"},
    {"null deletes a list", kPodSpec, R"({"tolerations":[{"key":"a"}],"nodeName":"n"})",
     R"({"tolerations":null})", R"({"nodeName":"n"})"},
    {"element without its key", kPodSpec, R"({"containers":[]})",
     R"({"containers":[{"image":"x"}]})", ""},
    {"scalar in a list of objects", kPodSpec, R"({"containers":[]})", R"({"containers":[1]})", ""},
    {"no directive survives in new values", kPodSpec, R"({})",
     R"({"volumes":[{"name":"v","$retainKeys":["name","emptyDir"],"emptyDir":{}}],"affinity":{"$patch":"replace","nodeAffinity":{"$retainKeys":["x"]}}})",
     R"({"volumes":[{"name":"v","emptyDir":{}}],"affinity":{"nodeAffinity":{}}})"},
    {"nulls in new values vanish", kPod, R"({})", R"({"metadata":{"labels":{"a":null,"b":"1"}}})",
     R"({"metadata":{"labels":{"b":"1"}}})"},
    {"no object", kPod, R"({})", R"([1])", ""},
};

TEST(StrategicMergePatch, KnowsEveryDirective) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.name);
    const auto result = apply_strategic_merge_patch(*Schema::instance().find(c.type),
                                                    Json::parse(c.document), Json::parse(c.patch));
    ASSERT_EQ(result.has_value(), *c.result != '\0')
        << (result ? result->dump() : result.error().message);
    if (!result) {
      EXPECT_EQ(result.error().code, Code::BadRequest);
    }
    if (result) {
      EXPECT_EQ(*result, Json::parse(c.result)) << result->dump();
    }
    if (result) {
      EXPECT_EQ(result->dump().find('$'), std::string::npos);
    }
  }
}

TEST(StrategicMergePatch, TakesHugeListsInLinearTime) {
  Json containers = Json::array();
  for (int i = 0; i < 20000; ++i) containers.push_back({{"name", "c" + std::to_string(i)}});
  const Json document = {{"containers", containers}};
  const auto begin = std::chrono::steady_clock::now();
  const auto result =
      apply_strategic_merge_patch(*Schema::instance().find(kPodSpec), document, document);
  ASSERT_TRUE(result);
  EXPECT_EQ(*result, document);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));
}

}  // namespace
}  // namespace coracle
