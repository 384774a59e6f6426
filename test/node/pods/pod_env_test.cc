#include "node/pods/pod_env.h"

#include "node/pods/pod_etc.h"
#include "scene.h"

namespace coracle::pods {
namespace {

using resources::kConfigMaps;

TEST(ExpandVariables, FollowsUpstream) {
  const std::map<std::string, std::string> vars = {{"A", "1"}, {"B", "$(A)"}};
  struct Case {
    const char *in, *out;
  };
  for (const Case& c : {Case{"$(A)", "1"}, Case{"x$(A)y$(A)", "x1y1"}, Case{"$$(A)", "$(A)"},
                        Case{"$(NO)", "$(NO)"}, Case{"$A", "$A"}, Case{"$(A", "$(A"},
                        Case{"$", "$"}, Case{"$$", "$"}, Case{"$(B)", "$(A)"}, Case{"", ""}}) {
    SCOPED_TRACE(c.in);
    EXPECT_EQ(expand_variables(c.in, vars), c.out);
  }
}

class PodEnvTest : public testing::Test {
 protected:
  PodEnvTest() {
    sources_.fields = {*Ip::parse("10.42.0.5"), *Ip::parse("192.0.2.6")};
    sources_.node_name = "n1";
    sources_.services = {{"KUBERNETES_SERVICE_HOST", "10.96.0.1"}, {"A", "from a service"}};
    sources_.fetch = [](const Resource& resource, const std::string& name) -> Result<Object> {
      if (name != "there") return Error{Code::NotFound, "nothing"};
      const bool map = resource == kConfigMaps;
      return Object(Json{{"data", {{"key", map ? "value" : "c2VjcmV0IQ=="}, {"k2", "dG8="}}}});
    };
  }
  Result<std::map<std::string, std::string>> env(const Json& env, const Json& from = Json::array(),
                                                 const std::string& image = "coracle/host") {
    Json c = container_json("c", image);
    c["env"] = env;
    c["envFrom"] = from;
    Scene s(Json{{"containers", Json::array({c})}, {"serviceAccountName", "robot"}});
    s.document["metadata"]["labels"] = {{"app", "web"}};
    s.document["metadata"]["annotations"] = {{"a/b", "c"}};
    s.decode();
    const auto computed = TRY(compute_env(s.pod, s.pod.containers[0], sources_));
    std::map<std::string, std::string> out(computed.begin(), computed.end());
    EXPECT_EQ(out.size(), computed.size()) << "a name is given twice";
    return out;
  }
  static Json field(const std::string& name, const std::string& path) {
    return {{"name", name}, {"valueFrom", {{"fieldRef", {{"fieldPath", path}}}}}};
  }
  static Json key(const char* kind, const std::string& name, const std::string& key,
                  bool optional = false) {
    return {{"name", "X"},
            {"valueFrom", {{kind, {{"name", name}, {"key", key}, {"optional", optional}}}}}};
  }
  EnvSources sources_;
};

TEST_F(PodEnvTest, HasDefaultsThatTheContainerMayReplace) {
  auto vars = *env(Json::array());
  EXPECT_EQ(vars["HOSTNAME"], "p");
  EXPECT_EQ(vars["PATH"], "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
  EXPECT_EQ(vars["KUBERNETES_SERVICE_HOST"], "10.96.0.1");
  EXPECT_FALSE(vars.contains("POD_NAME"));
  vars = *env(Json::array({{{"name", "PATH"}, {"value", "/x"}}, {{"name", "A"}, {"value", "b"}}}));
  EXPECT_EQ(vars["PATH"], "/x");
  EXPECT_EQ(vars["A"], "b");
}

TEST_F(PodEnvTest, TellsTheEchoServerWhoItIs) {
  const auto vars = *env(Json::array(), Json::array(), "coracle/echo:1.0");
  EXPECT_EQ(vars.at("POD_NAME"), "p");
  EXPECT_EQ(vars.at("POD_NAMESPACE"), "ns");
  EXPECT_EQ(vars.at("POD_IP"), "10.42.0.5");
  EXPECT_EQ(vars.at("NODE_NAME"), "n1");
}

TEST_F(PodEnvTest, ResolvesFields) {
  struct Case {
    const char *path, *value;
  };
  for (const Case& c :
       {Case{"metadata.name", "p"}, Case{"metadata.namespace", "ns"}, Case{"metadata.uid", "u1"},
        Case{"metadata.labels['app']", "web"}, Case{"metadata.labels['none']", ""},
        Case{"metadata.annotations['a/b']", "c"}, Case{"spec.nodeName", "n1"},
        Case{"spec.serviceAccountName", "robot"}, Case{"status.podIP", "10.42.0.5"},
        Case{"status.podIPs", "10.42.0.5"}, Case{"status.hostIP", "192.0.2.6"}}) {
    SCOPED_TRACE(c.path);
    EXPECT_EQ(env(Json::array({field("X", c.path)}))->at("X"), c.value);
  }
  const auto bad = env(Json::array({field("X", "spec.nonsense")}));
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().message, "unsupported pod fieldPath: spec.nonsense");
}

TEST_F(PodEnvTest, ExpandsOnlyWhatCameBefore) {
  const auto vars = *env(Json::array({{{"name", "X"}, {"value", "$(Y) $(A)"}},
                                      {{"name", "Y"}, {"value", "y"}},
                                      {{"name", "Z"}, {"value", "$(Y)-$(X)"}}}));
  EXPECT_EQ(vars.at("X"), "$(Y) from a service");
  EXPECT_EQ(vars.at("Z"), "y-$(Y) from a service");
}

TEST_F(PodEnvTest, ReadsConfigMapsAndSecrets) {
  EXPECT_EQ(env(Json::array({key("configMapKeyRef", "there", "key")}))->at("X"), "value");
  EXPECT_EQ(env(Json::array({key("secretKeyRef", "there", "key")}))->at("X"), "secret!");
  EXPECT_FALSE(env(Json::array({key("secretKeyRef", "gone", "key", true)}))->contains("X"));
  EXPECT_FALSE(env(Json::array({key("secretKeyRef", "there", "no", true)}))->contains("X"));
  EXPECT_EQ(env(Json::array({key("secretKeyRef", "gone", "key")})).error().message,
            "secret \"gone\" not found");
  EXPECT_EQ(env(Json::array({key("configMapKeyRef", "there", "no")})).error().message,
            "couldn't find key no in ConfigMap ns/there");
  const Json from = Json::array({{{"prefix", "P_"}, {"secretRef", {{"name", "there"}}}},
                                 {{"configMapRef", {{"name", "gone"}, {"optional", true}}}}});
  const auto vars = *env(Json::array({{{"name", "P_k2"}, {"value", "mine"}}}), from);
  EXPECT_EQ(vars.at("P_key"), "secret!");
  EXPECT_EQ(vars.at("P_k2"), "mine");
}

TEST_F(PodEnvTest, ExpandsCommandAndArguments) {
  Json c = container_json("c", "coracle/host");
  c["env"] = Json::array({{{"name", "WHO"}, {"value", "world"}}});
  c["command"] = Json::array({"echo", "$(WHO)", "$$(WHO)"});
  c["args"] = Json::array({"$(NOBODY)"});
  c["workingDir"] = "/srv";
  c["ports"] = Json::array({{{"containerPort", 5000}}});
  const Scene s(Json{{"containers", Json::array({c})}});
  const auto spec = compute_container(s.pod, s.pod.containers[0], sources_);
  ASSERT_TRUE(spec);
  EXPECT_EQ(spec->command, (std::vector<std::string>{"echo", "world", "$(WHO)"}));
  EXPECT_EQ(spec->args, std::vector<std::string>{"$(NOBODY)"});
  EXPECT_EQ(spec->working_dir, "/srv");
  EXPECT_EQ(spec->ports, std::vector<std::uint16_t>{5000});
}

TEST(ServiceVariables, NameEveryPortAndSkipHeadlessServices) {
  const Json port = {{"name", "web-1"}, {"port", 80}, {"protocol", "TCP"}};
  const auto vars = service_variables(
      {Object(Json{{"metadata", {{"name", "my-svc"}}},
                   {"spec", {{"clusterIP", "10.96.0.9"}, {"ports", Json::array({port})}}}}),
       Object(Json{{"metadata", {{"name", "headless"}}},
                   {"spec", {{"clusterIP", "None"}, {"ports", Json::array({port})}}}})});
  EXPECT_EQ(vars, (std::map<std::string, std::string>{{"MY_SVC_SERVICE_HOST", "10.96.0.9"},
                                                      {"MY_SVC_SERVICE_PORT", "80"},
                                                      {"MY_SVC_SERVICE_PORT_WEB_1", "80"},
                                                      {"MY_SVC_PORT", "tcp://10.96.0.9:80"},
                                                      {"MY_SVC_PORT_80_TCP", "tcp://10.96.0.9:80"},
                                                      {"MY_SVC_PORT_80_TCP_PROTO", "tcp"},
                                                      {"MY_SVC_PORT_80_TCP_PORT", "80"},
                                                      {"MY_SVC_PORT_80_TCP_ADDR", "10.96.0.9"}}));
}

const char* const kHost =
    "# made by hand\nnameserver 127.0.0.53\nnameserver 192.0.2.53\nsearch old\n"
    "search example.com corp\noptions timeout:1 ndots:2\nsortlist x\n";

NodePod pod_with(Json spec) {
  spec["containers"] = Json::array({container_json("c")});
  return Scene(std::move(spec)).pod;
}

TEST(ResolvConf, FollowsThePolicy) {
  struct Case {
    const char* name;
    Json spec;
    const char* text;
  };
  const Json config = {
      {"nameservers", Json::array({"192.0.2.1"})},
      {"searches", Json::array({"mine"})},
      {"options", Json::array({{{"name", "ndots"}, {"value", "1"}}, {{"name", "rotate"}}})}};
  for (const Case& c :
       {Case{"cluster first", Json::object(),
             "search ns.svc.cluster.local svc.cluster.local cluster.local example.com corp\n"
             "nameserver 192.0.2.53\noptions timeout:1 ndots:5\n"},
        Case{"default",
             {{"dnsPolicy", "Default"}},
             "search example.com corp\nnameserver 192.0.2.53\noptions timeout:1 ndots:2\n"},
        Case{"the node's network",
             {{"hostNetwork", true}},
             "search example.com corp\nnameserver 127.0.0.53\nnameserver 192.0.2.53\n"
             "options timeout:1 ndots:2\n"},
        Case{"none",
             {{"dnsPolicy", "None"}, {"dnsConfig", config}},
             "search mine\nnameserver 192.0.2.1\noptions ndots:1 rotate\n"},
        Case{"with more",
             {{"dnsPolicy", "Default"}, {"dnsConfig", config}},
             "search example.com corp mine\nnameserver 192.0.2.53\nnameserver 192.0.2.1\n"
             "options timeout:1 ndots:1 rotate\n"}}) {
    SCOPED_TRACE(c.name);
    EXPECT_EQ(
        to_string(compute_resolv_conf(pod_with(c.spec), "cluster.local", parse_resolv_conf(kHost))),
        c.text);
  }
}

TEST(Hosts, AreAsTheKubeletWritesThem) {
  const Ip ip = *Ip::parse("10.42.0.5");
  const std::string head =
      "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n"
      "::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\n"
      "fe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n";
  EXPECT_EQ(compute_hosts(pod_with(Json::object()), ip, "cluster.local", ""),
            head + "10.42.0.5\tp\n");
  const Json aliases = Json::array({{{"ip", "192.0.2.9"}, {"hostnames", Json::array({"a", "b"})}}});
  EXPECT_EQ(
      compute_hosts(pod_with({{"hostname", "h"}, {"subdomain", "s"}, {"hostAliases", aliases}}), ip,
                    "cluster.local", ""),
      head +
          "10.42.0.5\th.s.ns.svc.cluster.local\th\n"
          "\n# Entries added by HostAliases.\n192.0.2.9\ta\tb\n");
  EXPECT_EQ(compute_hosts(pod_with({{"hostNetwork", true}}), ip, "cluster.local", "127.0.0.1 me\n"),
            "# Kubernetes-managed hosts file (host network).\n127.0.0.1 me\n");
}

TEST(Hostname, IsCutAndMayBeTheNodes) {
  Scene s;
  s.document["metadata"]["name"] = std::string(62, 'x') + "-more";
  s.decode();
  EXPECT_EQ(compute_hostname(s.pod.pod, "n1"), std::string(62, 'x'));
  EXPECT_EQ(compute_hostname(pod_with({{"hostNetwork", true}}).pod, "n1"), "n1");
}

}  // namespace
}  // namespace coracle::pods
