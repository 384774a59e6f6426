// The typed views: what they read, Kubernetes' defaults, and that nothing in a document breaks
// them.
#include <coracle/api/endpoint_slice.h>
#include <coracle/api/endpoints.h>
#include <coracle/api/node.h>
#include <coracle/api/pod.h>
#include <coracle/api/service.h>
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>

namespace coracle {
namespace {

template <typename T>
T decode(const char* text) {
  const auto decoded = T::decode(Object(Json::parse(text)));
  EXPECT_TRUE(decoded);
  return *decoded;
}

TEST(Pod, DefaultsAreKubernetes) {
  const auto pod = decode<Pod>(R"({"spec": {"containers": [{"name": "c",
      "ports": [{"containerPort": 80}], "readinessProbe": {"httpGet": {"port": "web"}}}]}})");
  EXPECT_EQ(pod.restart_policy, "Always");
  EXPECT_EQ(pod.dns_policy, "ClusterFirst");
  EXPECT_EQ(pod.scheduler_name, "default-scheduler");
  EXPECT_EQ(pod.termination_grace_period_seconds, 30);
  ASSERT_EQ(pod.containers.size(), 1U);
  EXPECT_EQ(pod.containers[0].ports, (std::vector<ContainerPort>{{"", 80, 0, "TCP"}}));
  Probe expected;
  expected.kind = Probe::Kind::HttpGet;
  expected.path = "/";
  expected.scheme = "HTTP";
  expected.port_name = "web";
  EXPECT_EQ(pod.containers[0].readiness, expected);
  EXPECT_EQ(pod.containers[0].readiness.failure_threshold, 3);
  EXPECT_EQ(pod.containers[0].liveness, Probe{});
}

TEST(Pod, ReadsSpecAndStatus) {
  const auto pod = decode<Pod>(R"({"metadata": {"name": "p", "namespace": "n"},
      "spec": {"nodeName": "node-1", "hostNetwork": true, "terminationGracePeriodSeconds": 0,
        "nodeSelector": {"zone": "a"}, "initContainers": [{"name": "i"}],
        "containers": [{"name": "c", "env": [{"name": "IP",
            "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
          "livenessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 2},
          "startupProbe": {"tcpSocket": {"port": 81, "host": "10.0.0.1"}}}]},
      "status": {"phase": "Running", "podIP": "10.0.0.2",
        "conditions": [{"type": "Ready", "status": "True", "reason": "r"}]}})");
  EXPECT_EQ(pod.meta.name, "p");
  EXPECT_EQ(pod.node_name, "node-1");
  EXPECT_TRUE(pod.host_network);
  EXPECT_EQ(pod.termination_grace_period_seconds, 0);
  EXPECT_EQ(pod.node_selector.at("zone"), "a");
  EXPECT_EQ(pod.init_containers.size(), 1U);
  ASSERT_EQ(pod.containers.size(), 1U);
  const Container& container = pod.containers[0];
  EXPECT_EQ(container.env, (std::vector<EnvVar>{{"IP", "", "status.podIP"}}));
  EXPECT_EQ(container.liveness.kind, Probe::Kind::Exec);
  EXPECT_EQ(container.liveness.command, std::vector<std::string>{"true"});
  EXPECT_EQ(container.liveness.period_seconds, 2);
  EXPECT_EQ(container.startup.kind, Probe::Kind::TcpSocket);
  EXPECT_EQ(container.startup.port, 81);
  EXPECT_EQ(container.startup.host, "10.0.0.1");
  EXPECT_EQ(pod.pod_ips, std::vector<std::string>{"10.0.0.2"});
  EXPECT_TRUE(pod.ready());
  EXPECT_FALSE(pod.finished());
}

TEST(Pod, CountsRestartsOfContainersAndSidecars) {
  const auto pod = decode<Pod>(R"({"spec": {"initContainers": [{"name": "i"},
        {"name": "s", "restartPolicy": "Always"}], "containers": [{"name": "a"}, {"name": "b"}]},
      "status": {"containerStatuses": [{"name": "a", "restartCount": 2}, {"name": "b"}],
        "initContainerStatuses": [{"name": "i", "restartCount": 7},
          {"name": "s", "restartCount": 1}]}})");
  EXPECT_EQ(pod.restarts, 2);
  EXPECT_EQ(pod.sidecar_restarts, 1);
}

TEST(Node, ReadsRangesAddressesAndReadiness) {
  const auto node = decode<Node>(R"({"metadata": {"name": "n"},
      "spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24"], "unschedulable": true},
      "status": {"conditions": [{"type": "Ready", "status": "Unknown"}],
        "addresses": [{"type": "Hostname", "address": "n"},
                      {"type": "InternalIP", "address": "192.168.0.1"}]}})");
  EXPECT_EQ(node.pod_cidr, "10.1.0.0/24");
  EXPECT_EQ(node.pod_cidrs, std::vector<std::string>{"10.1.0.0/24"});
  EXPECT_TRUE(node.unschedulable);
  EXPECT_FALSE(node.ready);
  EXPECT_EQ(node.internal_ips, std::vector<std::string>{"192.168.0.1"});
}

TEST(Endpoints, ReadsSubsets) {
  const auto endpoints = decode<Endpoints>(R"({"metadata": {"name": "e"}, "subsets": [{
      "addresses": [{"ip": "10.0.0.2", "nodeName": "n", "targetRef":
          {"kind": "Pod", "namespace": "d", "name": "p", "uid": "u"}}],
      "notReadyAddresses": [{"ip": "10.0.0.3", "hostname": "h"}],
      "ports": [{"port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}]}]})");
  EndpointSubset expected;
  expected.addresses = {{"10.0.0.2", "", "n", "Pod", "d", "p", "u"}};
  expected.not_ready_addresses = {{"10.0.0.3", "h", "", "", "", "", ""}};
  expected.ports = {{"", 80, "TCP", ""}, {"dns", 53, "UDP", ""}};
  EXPECT_EQ(endpoints.subsets, std::vector<EndpointSubset>{expected});
}

// Each member in turn takes each wrong type; the views read it as absent and do not throw.
class Mangled {
 public:
  explicit Mangled(const char* text) : whole_(Json::parse(text)) {}
  void each(const std::function<void(const Object&)>& check) const {
    const Json flat = whole_.flatten();
    for (const auto& [path, value] : flat.items())
      for (auto at = Json::json_pointer(path); !at.empty(); at = at.parent_pointer())
        for (const char* wrong : {"null", "true", "-1", "1.5", "\"x\"", "[]", "[7]", "{}"}) {
          SCOPED_TRACE(at.to_string() + " is " + wrong);
          Json mangled = whole_;
          mangled[at] = Json::parse(wrong);
          check(Object(mangled));
        }
  }

 private:
  const Json whole_;
};

template <typename T>
void expect_reads(const char* text) {
  int read = 0;
  Mangled(text).each([&](const Object& o) {
    EXPECT_TRUE(T::decode(o));
    ++read;
  });
  EXPECT_GT(read, 50);
}

TEST(TypedViews, WrongTypesReadAsAbsent) {
  expect_reads<Pod>(R"({"metadata": {"name": "p", "labels": {"a": "b"}}, "spec": {"nodeName": "n",
      "nodeSelector": {"a": "b"}, "containers": [{"name": "c", "command": ["x"],
      "env": [{"name": "e", "valueFrom": {"fieldRef": {"fieldPath": "f"}}}],
      "ports": [{"containerPort": 1}], "livenessProbe": {"exec": {"command": ["x"]}},
      "readinessProbe": {"httpGet": {"port": 1, "httpHeaders": [{"name": "n", "value": "v"}]}},
      "startupProbe": {"tcpSocket": {"port": 1}}}]}, "status": {"podIPs": [{"ip": "1.2.3.4"}],
      "conditions": [{"type": "Ready", "status": "True"}]}})");
  expect_reads<Node>(R"({"metadata": {"name": "n"}, "spec": {"podCIDRs": ["c"], "podCIDR": "c",
      "unschedulable": true}, "status": {"conditions": [{"type": "Ready", "status": "True"}],
      "addresses": [{"type": "InternalIP", "address": "a"}]}})");
  expect_reads<Endpoints>(R"({"metadata": {"name": "e"}, "subsets": [{"addresses": [{"ip": "a",
      "targetRef": {"kind": "Pod"}}], "ports": [{"port": 1}]}]})");
  expect_reads<EndpointSlice>(R"({"metadata": {"labels": {"kubernetes.io/service-name": "s"}},
      "endpoints": [{"addresses": ["a"], "conditions": {"ready": true}, "targetRef": {"name": "p"}}],
      "ports": [{"port": 1}]})");
  expect_reads<Service>(R"({"metadata": {"name": "s"}, "spec": {"selector": {"a": "b"},
      "ports": [{"port": 1, "targetPort": "x"}], "clusterIPs": ["a"],
      "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 1}}},
      "status": {"loadBalancer": {"ingress": [{"ip": "a"}]}}})");
}

}  // namespace
}  // namespace coracle
