// What is refused of a Pod's volumes and their mounts, with upstream's words.
#include "registry_fixture.h"

namespace coracle {
namespace {

class VolumeValidationTest : public RegistryFixture {
 protected:
  // "FIELD: MESSAGE" of each cause, or "" when it was made.
  std::string refusal(const std::string& volumes, const std::string& mounts) {
    Json pod = simple_pod("p" + std::to_string(++count_));
    pod["spec"]["volumes"] = Json::parse(volumes);
    pod["spec"]["containers"][0]["volumeMounts"] = Json::parse(mounts);
    const auto created = create(resources::kPods, pod);
    if (created) return "";
    EXPECT_EQ(created.error().code, Code::Invalid);
    std::string out;
    for (const Cause& cause : created.error().causes)
      out += (out.empty() ? "" : "; ") + cause.field + ": " + cause.message;
    return out;
  }
  int count_ = 0;
};

TEST_F(VolumeValidationTest, Volumes) {
  struct Case {
    const char *volume, *refusal;
  };
  for (const Case& c : {
           Case{R"({"emptyDir":{"medium":"Memory","sizeLimit":"1Mi"}})", ""},
           Case{R"({"emptyDir":{"sizeLimit":"-1"}})",
                "spec.volumes[0].emptyDir.sizeLimit: Forbidden: SizeLimit field must be a valid "
                "resource quantity"},
           Case{R"({"hostPath":{"path":"/srv","type":"Socket"}})", ""},
           Case{R"({"hostPath":{}})", "spec.volumes[0].hostPath.path: Required value"},
           Case{R"({"hostPath":{"path":"/a/../b"}})",
                "spec.volumes[0].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'"},
           Case{R"({"hostPath":{"path":"/a..b"}})", ""},
           Case{R"({"configMap":{"items":[]}})", "spec.volumes[0].configMap.name: Required value"},
           Case{R"({"secret":{}})", "spec.volumes[0].secret.secretName: Required value"},
           Case{
               R"({"secret":{"secretName":"s","defaultMode":512}})",
               "spec.volumes[0].secret.defaultMode: Invalid value: 512: must be a number between 0 "
               "and 0777 (octal), both inclusive"},
           Case{R"({"configMap":{"name":"c","items":[{"key":"k","path":"a/b"}]}})", ""},
           Case{
               R"({"configMap":{"name":"c","items":[{"key":"k","path":"/a"}]}})",
               "spec.volumes[0].configMap.items[0].path: Invalid value: \"/a\": must be a relative "
               "path"},
           Case{R"({"configMap":{"name":"c","items":[{"key":"k","path":"..a"}]}})",
                "spec.volumes[0].configMap.items[0].path: Invalid value: \"..a\": must not start "
                "with '..'"},
           Case{
               R"({"configMap":{"name":"c","items":[{"key":"k","path":"a/.."}]}})",
               "spec.volumes[0].configMap.items[0].path: Invalid value: \"a/..\": must not contain "
               "'..'"},
           Case{R"({"downwardAPI":{"items":[{"path":"l",
                "fieldRef":{"fieldPath":"metadata.labels"}}]}})",
                ""},
           Case{R"({"downwardAPI":{"items":[{"path":"l"}]}})",
                "spec.volumes[0].downwardAPI.items[0]: Required value: one of fieldRef and "
                "resourceFieldRef is required"},
           Case{R"({"downwardAPI":{"items":[{"path":"l",
                "resourceFieldRef":{"resource":"limits.cpu"}}]}})",
                "spec.volumes[0].downwardAPI.items[0].resourceFieldRef.containerName: Required "
                "value"},
           Case{R"({"projected":{"sources":[
                {"configMap":{"name":"c","items":[{"key":"k","path":"a"}]}},
                {"secret":{"name":"s","items":[{"key":"k","path":"a"}]}}]}})",
                "spec.volumes[0].projected.sources[1].secret.items[0].path: Invalid value: \"a\": "
                "conflicting duplicate paths"},
           Case{R"({"projected":{"sources":[{"configMap":{"name":"c"},"secret":{"name":"s"}}]}})",
                "spec.volumes[0].projected.sources[0].configMap: Forbidden: may not specify more "
                "than 1 volume type per source"},
       }) {
    SCOPED_TRACE(c.volume);
    Json volume = Json::parse(c.volume);
    volume["name"] = "v";
    EXPECT_EQ(refusal(Json::array({volume}).dump(), "[]"), c.refusal);
  }
  EXPECT_NE(refusal(R"([{"name":"v","hostPath":{"path":"/","type":"Other"}}])", "[]")
                .find("spec.volumes[0].hostPath.type: Unsupported value: \"Other\""),
            std::string::npos);
  EXPECT_NE(refusal(R"([{"name":"v","downwardAPI":{"items":[{"path":"l",
                "fieldRef":{"fieldPath":"status.podIP"}}]}}])",
                    "[]")
                .find("fieldPath: Unsupported value: \"status.podIP\""),
            std::string::npos);
}

TEST_F(VolumeValidationTest, Mounts) {
  struct Case {
    const char *mount, *refusal;
  };
  for (const Case& c : {
           Case{R"({"mountPath":"/v","subPath":"a/b..c"})", ""},
           Case{R"({"mountPath":"relative"})", ""},  // as upstream
           Case{R"({"mountPath":"/v","subPath":"a/../b"})",
                "subPath: Invalid value: \"a/../b\": must not contain '..'"},
           Case{R"({"mountPath":"/v","subPath":"/a"})",
                "subPath: Invalid value: \"/a\": must be a relative path"},
           Case{R"({"mountPath":"/v","subPathExpr":"../a"})",
                "subPathExpr: Invalid value: \"../a\": must not contain '..'"},
           Case{R"x({"mountPath":"/v","subPathExpr":"$(A)","subPath":"a"})x",
                "subPathExpr: Invalid value: \"$(A)\": subPathExpr and subPath are mutually "
                "exclusive"},
           Case{R"({"mountPath":"/v","mountPropagation":"HostToContainer"})", ""},
           Case{R"({"mountPath":"/v","mountPropagation":"Bidirectional"})",
                "mountPropagation: Forbidden: Bidirectional mount propagation is available only to "
                "privileged containers"},
           Case{R"({"mountPath":"/v","recursiveReadOnly":"Enabled"})",
                "recursiveReadOnly: Forbidden: may only be specified when readOnly is true"},
           Case{R"({"mountPath":""})", "mountPath: Required value"},
       }) {
    SCOPED_TRACE(c.mount);
    Json mount = Json::parse(c.mount);
    mount["name"] = "v";
    const std::string path = "spec.containers[0].volumeMounts[0].";
    EXPECT_EQ(refusal(R"([{"name":"v","emptyDir":{}}])", Json::array({mount}).dump()),
              *c.refusal == '\0' ? "" : path + c.refusal);
  }
  EXPECT_EQ(refusal(R"([{"name":"v","emptyDir":{}}])",
                    R"([{"name":"v","mountPath":"/v"},{"name":"v","mountPath":"/v"}])"),
            "spec.containers[0].volumeMounts[1].mountPath: Invalid value: \"/v\": must be unique");
}

}  // namespace
}  // namespace coracle
