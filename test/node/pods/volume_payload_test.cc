#include "node/pods/volume_payload.h"

#include "node/pods/pod_env.h"
#include "node/pods/pod_etc.h"
#include "node/pods/pod_volumes.h"
#include "scene.h"

namespace coracle::pods {
namespace {

class PayloadTest : public testing::Test {
 protected:
  PayloadTest() {
    sources_.fetch = [](const Resource& resource, const std::string& name) -> Result<Object> {
      if (name == "away") return Error{Code::Unavailable, "the server is away"};
      if (name != "there") return Error{Code::NotFound, "nothing"};
      if (resource == resources::kSecrets)
        return Object(Json{{"data", {{"user", "cm9vdA=="}, {"empty", ""}}}});
      return Object(Json{{"data", {{"a", "1"}, {"b", "2"}}}, {"binaryData", {{"bin", "AAEC"}}}});
    };
    sources_.allocatable = []() -> Result<Allocatable> {
      return Allocatable{{"cpu", "2"}, {"memory", "64Mi"}};
    };
    Json c = container_json("c");
    c["resources"] = {{"limits", {{"memory", "32Mi"}}}};
    scene_ = Scene(Json{{"containers", Json::array({c})}});
    scene_.document["metadata"]["labels"] = {{"app", "web"}, {"b", "say \"hi\""}};
    scene_.document["metadata"]["annotations"] = {{"note", "two\nlines\\\x01"}};
    scene_.decode();
  }
  // "path=data:mode" of each file, or the error.
  std::string files(const Json& volume) {
    const auto payload = compute_payload(scene_.pod, volume, sources_);
    if (!payload) return "error: " + payload.error().message;
    std::string out;
    for (const auto& [path, file] : *payload) {
      char mode[8];
      (void)std::snprintf(mode, sizeof(mode), "%o", file.mode);
      out += (out.empty() ? "" : " ") + path + "=" + file.data + ":" + mode;
    }
    return out;
  }
  PayloadSources sources_;
  Scene scene_;
};

TEST_F(PayloadTest, ConfigMapsAndSecrets) {
  struct Case {
    const char *name, *volume, *files;
  };
  for (const Case& c : {
           Case{"all keys", R"({"configMap":{"name":"there","items":[]}})", "a=1:644 b=2:644 bin="},
           Case{"modes", R"({"configMap":{"name":"there","defaultMode":256,
                "items":[{"key":"a","path":"x/y"},{"key":"b","path":"b","mode":493}]}})",
                "b=2:755 x/y=1:400"},
           Case{"secret", R"({"secret":{"secretName":"there","defaultMode":288}})",
                "empty=:440 user=root:440"},
           Case{"missing", R"({"configMap":{"name":"gone"}})",
                R"(error: configmap "gone" not found)"},
           Case{"missing secret", R"({"secret":{"secretName":"gone"}})",
                R"(error: secret "gone" not found)"},
           Case{"optional", R"({"configMap":{"name":"gone","optional":true}})", ""},
           Case{"missing key", R"({"configMap":{"name":"there","items":[{"key":"k","path":"k"}]}})",
                "error: configmap references non-existent config key: k"},
           Case{"missing secret key",
                R"({"secret":{"secretName":"there","items":[{"key":"k","path":"k"}]}})",
                "error: references non-existent secret key: k"},
           Case{"optional key", R"({"configMap":{"name":"there","optional":true,
                "items":[{"key":"k","path":"k"},{"key":"a","path":"a"}]}})",
                "a=1:644"},
           Case{"the server is away", R"({"configMap":{"name":"away","optional":true}})",
                "error: the server is away"},
       }) {
    SCOPED_TRACE(c.name);
    const std::string found = files(Json::parse(c.volume));
    if (std::string(c.name) == "all keys")
      EXPECT_EQ(found, c.files + std::string("\0\1\2", 3) + ":644");
    else
      EXPECT_EQ(found, c.files);
  }
}

TEST_F(PayloadTest, DownwardFiles) {
  const auto item = [](const char* path, const char* field) {
    return Json{{"path", path}, {"fieldRef", {{"fieldPath", field}}}};
  };
  EXPECT_EQ(
      files({{"downwardAPI",
              {{"defaultMode", 0400},
               {"items",
                {item("name", "metadata.name"), item("ns", "metadata.namespace"),
                 item("app", "metadata.labels['app']"), item("none", "metadata.labels['x']")}}}}}),
      "app=web:400 name=p:400 none=:400 ns=ns:400");
  EXPECT_EQ(
      files({{"downwardAPI",
              {{"items", {item("l", "metadata.labels"), item("an", "metadata.annotations")}}}}}),
      "an=note=\"two\\nlines\\\\\\x01\":644 l=app=\"web\"\nb=\"say \\\"hi\\\"\":644");
  const auto limit = [](const char* resource, const char* container) {
    return Json{
        {"downwardAPI",
         {{"items",
           {{{"path", "r"},
             {"resourceFieldRef",
              {{"containerName", container}, {"resource", resource}, {"divisor", "1Mi"}}}}}}}}};
  };
  EXPECT_EQ(files(limit("limits.memory", "c")), "r=32:644");
  EXPECT_EQ(files(limit("limits.memory", "other")), "error: container other not found");
}

TEST_F(PayloadTest, ProjectedSources) {
  EXPECT_EQ(files(Json::parse(R"({"projected":{"defaultMode":292,"sources":[
      {"configMap":{"name":"there","items":[{"key":"a","path":"etc/a"}]}},
      {"secret":{"name":"there","items":[{"key":"user","path":"user","mode":256}]}},
      {"downwardAPI":{"items":[{"path":"name","fieldRef":{"fieldPath":"metadata.name"}}]}},
      {"serviceAccountToken":{"path":"token"}}]}})")),
            "etc/a=1:444 name=p:444 user=root:400");
  EXPECT_EQ(files(Json::parse(R"({"projected":{"sources":[{"configMap":{"name":"x"}},
      {"secret":{"name":"y"}},{"secret":{"name":"z","optional":true}}]}})")),
            R"(error: [configmap "x" not found, secret "y" not found])");
}

Scene pod_with_volumes(const char* volumes, const char* mounts = "[]",
                       const Json& security = Json::object()) {
  Json c = container_json("c");
  c["volumeMounts"] = Json::parse(mounts);
  return Scene(Json{{"containers", Json::array({c})},
                    {"volumes", Json::parse(volumes)},
                    {"securityContext", security}});
}

TEST(PodVolumes, KindsOfVolumes) {
  const Scene s = pod_with_volumes(R"([
      {"name":"disk","emptyDir":{}},
      {"name":"memory","emptyDir":{"medium":"Memory","sizeLimit":"2Mi"}},
      {"name":"free","emptyDir":{"medium":"Memory"}},
      {"name":"huge","emptyDir":{"medium":"HugePages"}},
      {"name":"map","configMap":{"name":"m"}},
      {"name":"kube-api-access-abc","projected":{"sources":[]}},
      {"name":"node","hostPath":{"path":"/srv","type":"Directory"}},
      {"name":"far","nfs":{"server":"s","path":"/p"}},
      {"name":"claim","persistentVolumeClaim":{"claimName":"c"}}])",
                                   "[]", {{"fsGroup", 2000}});
  const auto volumes = volumes_of(s.pod);
  ASSERT_EQ(volumes.size(), 8U);
  using Kind = Volume::Kind;
  EXPECT_EQ(volumes[0].volume, (Volume{.name = "disk", .group = 2000}));
  EXPECT_EQ(volumes[1].volume,
            (Volume{.name = "memory", .kind = Kind::Memory, .size = 2U << 20U, .group = 2000}));
  EXPECT_EQ(volumes[2].volume.size, 0U);
  EXPECT_EQ(volumes[3].unsupported, "emptyDir with medium HugePages");
  EXPECT_TRUE(volumes[4].payload);
  EXPECT_EQ(volumes[4].volume.kind, Kind::Memory);
  EXPECT_EQ(volumes[5].volume,
            (Volume{.name = "node", .kind = Kind::Host, .path = "/srv", .type = "Directory"}));
  EXPECT_EQ(volumes[6].unsupported, "nfs");
  EXPECT_EQ(volumes[7].unsupported, "persistentVolumeClaim");
  for (const std::size_t i : {0U, 1U, 2U, 4U, 5U}) EXPECT_EQ(volumes[i].unsupported, "") << i;
}

TEST(PodVolumes, MountsOfAContainer) {
  const Scene s = pod_with_volumes(
      R"([{"name":"d","emptyDir":{}},{"name":"m","secret":{"secretName":"s"}},
          {"name":"kube-api-access-abc","projected":{"sources":[]}}])",
      R"([{"name":"d","mountPath":"/d","subPathExpr":"logs/$(POD)/$$x"},
          {"name":"m","mountPath":"/m","subPath":"key"},
          {"name":"kube-api-access-abc","mountPath":"/run/token"},
          {"name":"d","mountPath":"rel","readOnly":true,"recursiveReadOnly":"IfPossible"}])");
  const auto mounts = mounts_of(s.pod, s.pod.containers[0], {{"POD", "p"}});
  ASSERT_TRUE(mounts) << mounts.error().message;
  EXPECT_EQ(*mounts,
            (std::vector<VolumeMount>{
                {.volume = "d", .target = "/d", .sub_path = "logs/p/$x"},
                {.volume = "m", .target = "/m", .sub_path = "key", .read_only = true},
                {.volume = "d", .target = "rel", .read_only = true, .submounts_read_only = true}}));
  const auto missing = mounts_of(s.pod, s.pod.containers[0], {});
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().message,
            "failed to prepare subPath for volumeMount \"d\" of container \"c\": missing value for "
            "POD");
}

TEST(KernelHostname, IsTheWholeNameWhenAskedFor) {
  Json spec = {{"containers", Json::array({container_json("c")})}, {"hostname", "web"}};
  const auto name = [&] {
    const auto got = compute_kernel_hostname(Scene(spec).pod, "n1", "cluster.local");
    return got ? *got : "error: " + got.error().message;
  };
  EXPECT_EQ(name(), "web");
  spec["setHostnameAsFQDN"] = true;
  EXPECT_EQ(name(), "web");
  spec["subdomain"] = "sub";
  EXPECT_EQ(name(), "web.sub.ns.svc.cluster.local");
  spec["subdomain"] = std::string(40, 's');
  EXPECT_EQ(name(),
            "error: failed to construct FQDN from Pod hostname and cluster domain, FQDN web." +
                std::string(40, 's') +
                ".ns.svc.cluster.local is too long (64 characters is the max, 65 characters "
                "requested)");
  spec["hostNetwork"] = true;
  EXPECT_EQ(name(), "n1");
}

}  // namespace
}  // namespace coracle::pods
