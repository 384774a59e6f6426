#include "node/pods/pod_env.h"

#include <limits>

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
        Case{"status.podIPs", "10.42.0.5"}, Case{"status.hostIP", "192.0.2.6"},
        Case{"status.hostIPs", "192.0.2.6"}}) {
    SCOPED_TRACE(c.path);
    EXPECT_EQ(env(Json::array({field("X", c.path)}))->at("X"), c.value);
  }
  const auto bad = env(Json::array({field("X", "spec.nonsense")}));
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().message, "unsupported pod fieldPath: spec.nonsense");
}

TEST(Quantity, IsRoundedUp) {
  struct Case {
    const char* text;
    std::uint64_t scale;
    std::int64_t value;
  };
  constexpr std::int64_t kLargest = std::numeric_limits<std::int64_t>::max();
  for (const Case& c : {Case{"2", 1000, 2000},
                        Case{"0.1", 1000, 100},
                        Case{"1.5", 1000, 1500},
                        Case{"250m", 1000, 250},
                        Case{"250m", 1, 1},
                        Case{"1u", 1000, 1},
                        Case{"100n", 1000, 1},
                        Case{"1Ki", 1, 1024},
                        Case{"1.5Gi", 1, 1610612736},
                        Case{"64M", 1, 64000000},
                        Case{"1e3", 1, 1000},
                        Case{"1E-1", 1000, 100},
                        Case{"12E", 1, kLargest},
                        Case{"8Ei", 1, kLargest},
                        Case{"7Ei", 1, 7LL << 60},
                        Case{"0", 1000, 0},
                        Case{"", 1, 0},
                        Case{"x", 1, 0},
                        Case{"1.2.3", 1, 0},
                        Case{"1Xi", 1, 0},
                        Case{"5e", 1, 0},
                        Case{"123456789012345678901234567890", 1, kLargest},
                        Case{"0.1234567890123456789012345", 1000, 124}}) {
    SCOPED_TRACE(c.text);
    EXPECT_EQ(quantity(std::string(c.text), c.scale), c.value);
  }
}

TEST_F(PodEnvTest, ResolvesResources) {
  const auto value = [&](const std::string& resource, const std::string& divisor = "",
                         const std::string& container = "") {
    Json c = container_json("c", "coracle/host"), other = container_json("other");
    c["resources"] = {{"limits", {{"cpu", "1500m"}}}, {"requests", {{"memory", "100Mi"}}}};
    other["resources"] = {{"limits", {{"memory", "64Mi"}}}};
    Json reference = {{"resource", resource}};
    if (!divisor.empty()) reference["divisor"] = divisor;
    if (!container.empty()) reference["containerName"] = container;
    c["env"] = Json::array({{{"name", "X"}, {"valueFrom", {{"resourceFieldRef", reference}}}}});
    const Scene s(Json{{"containers", Json::array({c, other})}});
    const auto computed = compute_env(s.pod, s.pod.containers[0], sources_);
    if (!computed) return computed.error().message;
    return std::map<std::string, std::string>(computed->begin(), computed->end())["X"];
  };
  sources_.allocatable = [] { return Allocatable{{"cpu", "4"}, {"memory", "8Gi"}}; };
  EXPECT_EQ(value("limits.cpu"), "2");
  EXPECT_EQ(value("limits.cpu", "1m"), "1500");
  EXPECT_EQ(value("limits.memory", "1Mi"), "8192");  // without a limit, the node's
  EXPECT_EQ(value("limits.memory", "", "other"), "67108864");
  EXPECT_EQ(value("limits.cpu", "0", "other"), "4");
  EXPECT_EQ(value("requests.memory", "1M"), "105");
  EXPECT_EQ(value("requests.cpu"), "0");
  EXPECT_EQ(value("limits.ephemeral-storage"), "0");
  EXPECT_EQ(value("limits.disks"), "unsupported container resource: limits.disks");
  EXPECT_EQ(value("limits.cpu", "", "nobody"), "container nobody not found");
}

TEST(OomScore, FollowsTheClassAndWhatWasAskedFor) {
  struct Case {
    const char *qos, *request;
    int score;
  };
  for (const Case& c : {Case{"BestEffort", "", 1000}, Case{"Guaranteed", "1Gi", -997},
                        Case{"Burstable", "", 999}, Case{"Burstable", "1Gi", 750},
                        Case{"Burstable", "64Gi", 3}, Case{"Burstable", "1Ki", 999}}) {
    SCOPED_TRACE(std::string(c.qos) + " " + c.request);
    Json container = container_json("c");
    if (*c.request != '\0') container["resources"] = {{"requests", {{"memory", c.request}}}};
    const Scene s(Json{{"containers", Json::array({container})}}, {{"qosClass", c.qos}});
    EXPECT_EQ(oom_score_adj(s.pod, s.pod.containers[0], std::int64_t{4} << 30), c.score);
  }
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
  EXPECT_EQ(spec->termination_message_path, "/dev/termination-log");
  EXPECT_FALSE(spec->message_from_log);
}

TEST_F(PodEnvTest, TellsTheRuntimeWhereTheMessageIs) {
  Json c = container_json("c");
  c["terminationMessagePath"] = "/tmp/why";
  c["terminationMessagePolicy"] = "FallbackToLogsOnError";
  const Scene s(Json{{"containers", Json::array({c})}});
  const auto spec = compute_container(s.pod, s.pod.containers[0], sources_);
  ASSERT_TRUE(spec);
  EXPECT_EQ(spec->termination_message_path, "/tmp/why");
  EXPECT_TRUE(spec->message_from_log);
}

TEST(ServiceVariables, NameEveryPortAndSkipHeadlessServices) {
  const Json port = {{"name", "web-1"}, {"port", 80}, {"protocol", "TCP"}};
  const auto vars = service_variables(
      {*Service::decode(
           Object(Json{{"metadata", {{"name", "my-svc"}}},
                       {"spec", {{"clusterIP", "10.96.0.9"}, {"ports", Json::array({port})}}}})),
       *Service::decode(
           Object(Json{{"metadata", {{"name", "headless"}}},
                       {"spec", {{"clusterIP", "None"}, {"ports", Json::array({port})}}}}))});
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

const ClusterNames kCluster{"cluster.local", Ip::v4(0x0A60000A)};

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
             "nameserver 10.96.0.10\noptions ndots:5\n"},
        Case{"cluster first, but the node's network",
             {{"hostNetwork", true}, {"dnsPolicy", "ClusterFirst"}},
             "search example.com corp\nnameserver 127.0.0.53\nnameserver 192.0.2.53\n"
             "options timeout:1 ndots:2\n"},
        Case{"cluster first with the node's network",
             {{"hostNetwork", true}, {"dnsPolicy", "ClusterFirstWithHostNet"}},
             "search ns.svc.cluster.local svc.cluster.local cluster.local example.com corp\n"
             "nameserver 10.96.0.10\noptions ndots:5\n"},
        Case{"cluster first with more",
             {{"dnsConfig", config}},
             "search ns.svc.cluster.local svc.cluster.local cluster.local example.com corp mine\n"
             "nameserver 10.96.0.10\nnameserver 192.0.2.1\noptions ndots:1 rotate\n"},
        Case{"what is there already",
             {{"dnsConfig",
               {{"nameservers", Json::array({"10.96.0.10"})},
                {"searches", Json::array({"corp", "cluster.local"})}}}},
             "search ns.svc.cluster.local svc.cluster.local cluster.local example.com corp\n"
             "nameserver 10.96.0.10\noptions ndots:5\n"},
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
    EXPECT_EQ(to_string(compute_resolv_conf(pod_with(c.spec), kCluster, parse_resolv_conf(kHost))),
              c.text);
  }
}

TEST(ResolvConf, WithoutAClusterDnsItIsTheHosts) {
  EXPECT_EQ(to_string(compute_resolv_conf(pod_with(Json::object()), {"cluster.local", {}},
                                          parse_resolv_conf(kHost))),
            "search example.com corp\nnameserver 192.0.2.53\noptions timeout:1 ndots:2\n");
}

TEST(ResolvConf, IsCutToWhatLibcReads) {
  Json servers = Json::array(), searches = Json::array();
  for (int i = 1; i <= 4; ++i) servers.push_back("192.0.2." + std::to_string(i));
  for (int i = 0; i < 40; ++i) searches.push_back("d" + std::to_string(i));
  const Json spec = {{"dnsConfig", {{"nameservers", servers}, {"searches", searches}}}};
  const ResolvConf conf = compute_resolv_conf(pod_with(spec), kCluster, {});
  EXPECT_EQ(conf.nameservers, (std::vector<std::string>{"10.96.0.10", "192.0.2.1", "192.0.2.2"}));
  EXPECT_EQ(conf.search.size(), 32U);
  EXPECT_EQ(conf.search.back(), "d28");
  ResolvConf host;
  for (int i = 0; i < 10; ++i) host.search.push_back(std::string(250, static_cast<char>('a' + i)));
  const ResolvConf long_one = compute_resolv_conf(pod_with(Json::object()), kCluster, host);
  // "ns.svc.cluster.local svc.cluster.local cluster.local" and seven times 251.
  EXPECT_EQ(long_one.search.size(), 10U);
}

TEST(ResolvConf, DomainsLoseTheirDot) {
  EXPECT_EQ(parse_resolv_conf("search a.b. c .\n").search,
            (std::vector<std::string>{"a.b", "c", "."}));
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
