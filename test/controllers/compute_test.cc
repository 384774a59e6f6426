// The pure halves of the controllers, as tables.
#include <gtest/gtest.h>

#include <random>

#include "endpoint_slice.h"
#include "endpoints.h"
#include "garbage_collector.h"
#include "load_balancer.h"
#include "node_health.h"
#include "node_ipam.h"

namespace coracle {
namespace {

Service service(std::vector<ServicePort> ports) {
  Service out;
  out.meta.ns = "default";
  out.meta.name = "web";
  out.meta.uid = "service-uid";
  out.selector = {{"app", "web"}};
  out.cluster_ip = "10.96.0.50";
  out.ports = std::move(ports);
  return out;
}
ServicePort port(std::int64_t number, std::int64_t target, const std::string& name = "") {
  ServicePort out;
  out.name = name;
  out.port = number;
  out.target_port = target;
  return out;
}
ServicePort named(std::int64_t number, const std::string& target, const std::string& name = "") {
  ServicePort out = port(number, 0, name);
  out.target_port_name = target;
  return out;
}
Pod pod(const std::string& name, const std::string& ip, bool ready = true) {
  Pod out;
  out.meta.ns = "default";
  out.meta.name = name;
  out.meta.uid = name + "-uid";
  out.meta.labels = {{"app", "web"}};
  out.node_name = "node-1";
  out.phase = "Running";
  out.pod_ip = ip;
  out.conditions = {{"Ready", ready ? "True" : "False", "", "", "2026-01-01T00:00:00Z"}};
  Container container;
  container.ports = {{"http", 8080, 0, "TCP"}};
  out.containers = {container};
  return out;
}
std::vector<PodPtr> pods(std::vector<Pod> list) {
  std::vector<PodPtr> out;
  for (Pod& p : list) out.push_back(std::make_shared<const Pod>(std::move(p)));
  return out;
}
// "10.0.0.1,!10.0.0.2:80/http" per subset: addresses, not ready ones marked, ports.
std::string shown(const DesiredEndpoints& endpoints) {
  std::string out;
  for (const EndpointSubset& s : endpoints.subsets) {
    for (const auto& a : s.addresses) out += a.ip + ",";
    for (const auto& a : s.not_ready_addresses) out += "!" + a.ip + ",";
    for (const auto& p : s.ports) out += ":" + std::to_string(p.port) + "/" + p.name;
    out += ";";
  }
  return out;
}

TEST(ComputeEndpoints, Table) {
  Pod ending = pod("b", "10.0.0.2");
  ending.meta.deletion_timestamp = "2026-01-01T00:00:00Z";
  Pod finished = pod("c", "10.0.0.3");
  finished.phase = "Succeeded";
  Pod other = pod("d", "10.0.0.4");
  other.containers[0].ports[0].container_port = 9090;
  Pod portless = pod("e", "10.0.0.5");
  portless.containers[0].ports.clear();
  const auto all = pods({pod("a", "10.0.0.1"), ending, finished, other, portless, pod("f", ""),
                         pod("g", "10.0.0.7", false)});
  EXPECT_EQ(shown(compute_endpoints(service({port(80, 5000)}), all)),
            "10.0.0.1,10.0.0.4,10.0.0.5,!10.0.0.7,:5000/;");
  EXPECT_EQ(shown(compute_endpoints(service({named(80, "http", "web")}), all)),
            "10.0.0.1,!10.0.0.7,:8080/web;10.0.0.4,:9090/web;");
  EXPECT_EQ(shown(compute_endpoints(service({port(80, 5000, "x"), named(81, "http", "y")}), all)),
            "10.0.0.5,:5000/x;10.0.0.1,!10.0.0.7,:5000/x:8080/y;10.0.0.4,:5000/x:9090/y;");
  Service early = service({port(80, 5000)});
  early.publish_not_ready_addresses = true;
  EXPECT_EQ(shown(compute_endpoints(early, all)),
            "10.0.0.1,10.0.0.2,10.0.0.4,10.0.0.5,10.0.0.7,:5000/;");
  Service headless = service({});
  EXPECT_EQ(shown(compute_endpoints(headless, all)), "");
  headless.cluster_ip = "None";
  EXPECT_EQ(shown(compute_endpoints(headless, all)), "10.0.0.1,10.0.0.4,10.0.0.5,!10.0.0.7,;");
  EXPECT_EQ(shown(compute_endpoints(service({port(80, 5000)}), {})), "");
}

TEST(ComputeEndpoints, NamesTheTargetAndTheHostname) {
  Pod p = pod("a", "10.0.0.1");
  p.hostname = "first";
  p.subdomain = "web";
  const auto endpoints = compute_endpoints(service({port(80, 80)}), pods({p}));
  EXPECT_EQ(endpoints.subsets[0].addresses[0],
            (EndpointAddress{"10.0.0.1", "first", "node-1", "Pod", "default", "a", "a-uid"}));
}

TEST(ComputeEndpoints, AThousandAddressesReadyOnesFirst) {
  std::vector<Pod> many;
  for (int i = 0; i < 1200; ++i)
    many.push_back(pod("p" + std::to_string(i),
                       "10.0." + std::to_string(i / 250) + "." + std::to_string(i % 250),
                       i >= 300));
  const auto endpoints = compute_endpoints(service({port(80, 80)}), pods(std::move(many)));
  EXPECT_TRUE(endpoints.truncated);
  EXPECT_EQ(endpoints.subsets[0].addresses.size(), 900U);
  EXPECT_EQ(endpoints.subsets[0].not_ready_addresses.size(), 100U);
}

TEST(Selects, EveryLabelAndTheNamespace) {
  Service s = service({});
  EXPECT_TRUE(selects(s, pod("a", "10.0.0.1")));
  s.selector["tier"] = "front";
  EXPECT_FALSE(selects(s, pod("a", "10.0.0.1")));
  s.selector.clear();
  EXPECT_FALSE(selects(s, pod("a", "10.0.0.1")));
  s = service({});
  s.meta.ns = "other";
  EXPECT_FALSE(selects(s, pod("a", "10.0.0.1")));
}

TEST(ComputeSlices, ConditionsFollowReadinessAndTermination) {
  Pod ending = pod("b", "10.0.0.2");
  ending.meta.deletion_timestamp = "2026-01-01T00:00:00Z";
  const auto groups = compute_slices(
      service({port(80, 5000)}), pods({pod("a", "10.0.0.1"), ending, pod("c", "10.0.0.3", false)}));
  ASSERT_EQ(groups.size(), 1U);
  const auto& e = groups[0].endpoints;
  ASSERT_EQ(e.size(), 3U);
  EXPECT_EQ(e[0].ready, true);
  EXPECT_EQ(e[0].terminating, false);
  EXPECT_EQ(e[1].ready, false);
  EXPECT_EQ(e[1].serving, true);
  EXPECT_EQ(e[1].terminating, true);
  EXPECT_EQ(e[2].ready, false);
  EXPECT_EQ(e[2].serving, false);
}

// A store of slices that a plan is applied to.
class SliceWorld {
 public:
  SlicePlan apply(const std::vector<EndpointGroup>& desired) {
    SlicePlan plan = plan_slices(slices_, desired);
    for (const auto& gone : plan.remove) std::erase(slices_, gone);
    for (const SliceUpdate& u : plan.update) {
      auto now = std::make_shared<EndpointSlice>(*u.existing);
      now->endpoints = u.endpoints;
      std::replace(slices_.begin(), slices_.end(), u.existing,
                   std::shared_ptr<const EndpointSlice>(now));
    }
    for (const EndpointGroup& g : plan.create) {
      auto made = std::make_shared<EndpointSlice>();
      made->meta.name = "slice-" + std::to_string(++made_);
      made->ports = g.ports;
      made->endpoints = g.endpoints;
      slices_.push_back(made);
    }
    return plan;
  }
  std::size_t size() const { return slices_.size(); }
  // Every address with its port, sorted; each exactly once.
  std::vector<std::string> contents() const {
    std::vector<std::string> out;
    for (const auto& s : slices_) {
      EXPECT_LE(s->endpoints.size(), kMaxEndpointsPerSlice);
      for (const Endpoint& e : s->endpoints)
        out.push_back(e.addresses[0] + ":" + std::to_string(*s->ports[0].port) +
                      (*e.ready ? "" : "!"));
    }
    std::sort(out.begin(), out.end());
    return out;
  }

 private:
  std::vector<std::shared_ptr<const EndpointSlice>> slices_;
  int made_ = 0;
};

EndpointGroup group(int from, int count, std::int64_t number = 80, int unready = -1) {
  EndpointGroup out;
  out.ports = {{"", "TCP", number, ""}};
  for (int i = from; i < from + count; ++i) {
    Endpoint e;
    e.addresses = {"10.0." + std::to_string(i / 200) + "." + std::to_string(i % 200)};
    e.target_uid = "uid-" + std::to_string(i);
    e.ready = i != unready;
    out.endpoints.push_back(e);
  }
  return out;
}

TEST(PlanSlices, WritesAsLittleAsPossible) {
  SliceWorld world;
  EXPECT_EQ(world.apply({group(0, 250)}).create.size(), 3U);
  EXPECT_TRUE(world.apply({group(0, 250)}).empty());
  SlicePlan plan = world.apply({group(0, 250, 80, 17)});  // one turns unready
  EXPECT_EQ(plan.update.size(), 1U);
  EXPECT_TRUE(plan.create.empty() && plan.remove.empty());
  plan = world.apply({group(0, 251)});  // one comes (and one is ready again)
  EXPECT_LE(plan.update.size(), 2U);
  EXPECT_TRUE(plan.create.empty());
  plan = world.apply({group(1, 250)});  // one goes
  EXPECT_EQ(plan.update.size(), 1U);
  EXPECT_EQ(world.size(), 3U);
  plan = world.apply({});  // all go: the placeholder stays
  EXPECT_EQ(world.size(), 1U);
  EXPECT_TRUE(world.apply({}).empty());
  plan = world.apply({group(0, 1)});
  EXPECT_EQ(world.size(), 1U);
  EXPECT_EQ(world.contents(), std::vector<std::string>{"10.0.0.0:80"});
}

TEST(PlanSlices, RandomWalkEndsWhereItShould) {
  std::mt19937 random(1);  // NOLINT(cert-msc51-cpp): the same walk every time
  SliceWorld world;
  for (int step = 0; step < 400; ++step) {
    const auto pick = [&](int below) {
      return std::uniform_int_distribution<int>(0, below - 1)(random);
    };
    std::vector<EndpointGroup> desired;
    if (pick(10) > 0) desired.push_back(group(pick(50), pick(300) + 1, 80, pick(350)));
    if (pick(3) == 0) desired.push_back(group(1000 + pick(50), pick(120) + 1, 81));
    std::vector<std::string> expected;
    for (const EndpointGroup& g : desired)
      for (const Endpoint& e : g.endpoints)
        expected.push_back(e.addresses[0] + ":" + std::to_string(*g.ports[0].port) +
                           (*e.ready ? "" : "!"));
    std::sort(expected.begin(), expected.end());
    world.apply(desired);
    ASSERT_EQ(world.contents(), expected) << "step " << step;
    ASSERT_GE(world.size(), 1U);
    ASSERT_TRUE(world.apply(desired).empty()) << "step " << step << ": a second pass writes";
  }
}

TEST(Mirror, ReadyAndNotReadyByPorts) {
  Endpoints endpoints;
  endpoints.subsets = {
      {{{"192.0.2.1", "", "", "", "", "", ""}},
       {{"192.0.2.2", "", "", "", "", "", ""}, {"2001:db8::1", "", "", "", "", "", ""}},
       {{"http", 80, "TCP", ""}}}};
  const auto groups = mirror_endpoints(endpoints);
  ASSERT_EQ(groups.size(), 1U);
  ASSERT_EQ(groups[0].endpoints.size(), 2U) << "IPv4 only";
  EXPECT_EQ(groups[0].endpoints[0].ready, true);
  EXPECT_EQ(groups[0].endpoints[1].ready, false);
}

NodePtr node(const std::string& name, bool ready = true, bool unschedulable = false) {
  auto out = std::make_shared<Node>();
  out->meta.name = name;
  out->meta.labels = {{"disk", name == "c" ? "ssd" : "hdd"}};
  out->ready = ready;
  out->unschedulable = unschedulable;
  out->internal_ips = {"192.0.2." + std::to_string(name[0] - 'a' + 1)};
  return out;
}

TEST(NextCidr, FirstThatOverlapsNothing) {
  const Cidr cluster = *Cidr::parse("10.42.0.0/22");
  std::vector<Cidr> taken;
  for (const char* expected : {"10.42.0.0/24", "10.42.1.0/24", "10.42.2.0/24", "10.42.3.0/24"}) {
    const auto next = next_cidr(cluster, 24, taken);
    ASSERT_TRUE(next);
    EXPECT_EQ(next->to_string(), expected);
    taken.push_back(*next);
  }
  EXPECT_FALSE(next_cidr(cluster, 24, taken));
  taken.erase(taken.begin() + 1);
  EXPECT_EQ(next_cidr(cluster, 24, taken)->to_string(), "10.42.1.0/24");
  EXPECT_EQ(next_cidr(cluster, 24, {*Cidr::parse("10.42.0.128/25")})->to_string(), "10.42.1.0/24");
  EXPECT_FALSE(next_cidr(cluster, 20, {}));
}

ServicePtr balancer(const std::string& name, const std::string& created,
                    const std::vector<std::string>& ips = {}) {
  auto out = std::make_shared<Service>(service({port(80, 80)}));
  out->meta.name = name;
  out->meta.uid = name;
  out->meta.creation_timestamp = created;
  out->type = "LoadBalancer";
  out->load_balancer_ips = ips;
  return out;
}

TEST(LoadBalancer, OnePortOneService) {
  const std::vector<NodePtr> nodes = {node("b"), node("a"), node("c", false)};
  const std::vector<std::string> both = {"192.0.2.1", "192.0.2.2"};
  const auto first = balancer("first", "2026-01-01"), second = balancer("second", "2026-01-02");
  const auto of = [&](const ServicePtr& s, const std::vector<ServicePtr>& all,
                      const std::set<std::string>& taken = {}) {
    return compute_load_balancer(*s, all, nodes, taken);
  };
  EXPECT_EQ(of(first, {first, second}).ips, both);
  EXPECT_TRUE(of(second, {first, second}).ips.empty());
  EXPECT_NE(of(second, {first, second}).problem.find("default/first"), std::string::npos);
  const auto holds = balancer("second", "2026-01-02", both);
  EXPECT_EQ(of(holds, {first, holds}).ips, both) << "who has it keeps it";
  EXPECT_TRUE(of(first, {first, holds}).ips.empty());
  EXPECT_TRUE(of(first, {first}, {"TCP/80"}).ips.empty());
  auto node_port = std::make_shared<Service>(service({port(5, 5)}));
  node_port->meta.uid = "np";
  node_port->type = "NodePort";
  node_port->ports[0].node_port = 80;
  EXPECT_TRUE(of(first, {first, node_port}).ips.empty());
  auto changed = std::make_shared<Service>(*holds);
  changed->type = "ClusterIP";
  EXPECT_TRUE(of(changed, {changed}).ips.empty());
  EXPECT_EQ(of(changed, {changed}).problem, "");
}

TEST(GarbageAction, Table) {
  const OwnerReference o{"v1", "ConfigMap", "o", "uid", false, false};
  EXPECT_EQ(garbage_action({}, false), GarbageAction::Keep);
  EXPECT_EQ(garbage_action({{o}, {}, {}, {}}, false), GarbageAction::Keep);
  EXPECT_EQ(garbage_action({{o}, {o}, {}, {}}, false), GarbageAction::DropReferences);
  EXPECT_EQ(garbage_action({{o}, {}, {o}, {}}, true), GarbageAction::DropReferences);
  EXPECT_EQ(garbage_action({{}, {o}, {}, {}}, true), GarbageAction::Delete);
  EXPECT_EQ(garbage_action({{}, {}, {o}, {}}, false), GarbageAction::Delete);
  EXPECT_EQ(garbage_action({{}, {}, {o}, {}}, true), GarbageAction::DeleteInForeground);
  EXPECT_EQ(garbage_action({{}, {}, {}, {o}}, false), GarbageAction::DropReferences);
  EXPECT_EQ(garbage_action({{o}, {}, {}, {o}}, false), GarbageAction::DropReferences);
  EXPECT_EQ(garbage_action({{}, {o}, {}, {o}}, false), GarbageAction::Delete);
}

}  // namespace
}  // namespace coracle
