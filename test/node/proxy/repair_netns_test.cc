// Others flush, edit, delete and insert rules while requests go on: noticed and repaired by the
// whole proxy on the real kernel, with both variants. Needs root.
#include <gmock/gmock.h>
#include <sys/socket.h>

#include <nlohmann/json.hpp>

#include "node/proxy/kernel_stage.h"
#include "node/proxy/proxier.h"
#include "support/registry_client.h"

namespace coracle::proxy {
namespace {

// The backend as it is, and how often it was used.
class CountingBackend final : public ProxyBackend {
 public:
  struct Counts {
    std::atomic<int> syncs = 0, damages = 0;
  };
  CountingBackend(std::unique_ptr<ProxyBackend> inner, Counts& counts)
      : inner_(std::move(inner)), counts_(counts) {}
  Result<void> sync(const ServiceTable& table) override {
    ++counts_.syncs;
    return inner_->sync(table);
  }
  Result<bool> intact() override {
    auto intact = inner_->intact();
    if (!intact || !*intact) ++counts_.damages;
    return intact;
  }
  int events() const override { return inner_->events(); }
  void invalidate() override { inner_->invalidate(); }
  Result<void> cleanup() override { return inner_->cleanup(); }

 private:
  std::unique_ptr<ProxyBackend> inner_;
  Counts& counts_;
};

// Chain by chain, as the order of chains says nothing. Without lines that contain `but`.
std::map<std::string, std::vector<std::string>> by_chain(const std::string& text,
                                                         const std::string& but) {
  std::map<std::string, std::vector<std::string>> out;
  std::string table;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string line = text.substr(at, end - at);
    at = end + 1;
    if (line.starts_with("*")) table = line;
    if (line.find(but) != std::string::npos) continue;
    if (line.starts_with(":")) out[table + " " + line.substr(1, line.find(' ') - 1)];
    if (line.starts_with("-A "))
      out[table + " " + line.substr(3, line.find(' ', 3) - 3)].push_back(line);
  }
  return out;
}

class Repair : public IptablesKernel {
 protected:
  void SetUp() override {
    IptablesKernel::SetUp();
    if (IsSkipped()) return;
    change(
        "*nat\n:OTHERS - [0:0]\n-A OTHERS -s 203.0.113.0/24 -j RETURN\n"
        "-A PREROUTING -s 203.0.113.1/32 -j OTHERS\nCOMMIT\n"
        "*filter\n:OTHERS - [0:0]\n-A FORWARD -s 203.0.113.2/32 -j OTHERS\nCOMMIT\n");
    ASSERT_TRUE(client_->create(
        resources::kServices, Object(Json{{"metadata", {{"name", "web"}, {"namespace", "default"}}},
                                          {"spec",
                                           {{"clusterIP", kVip},
                                            {"type", "NodePort"},
                                            {"ports", {{{"port", 80}, {"nodePort", 30080}}}}}}})));
    ASSERT_TRUE(client_->create(resources::kEndpointSlices, slice({"10.42.0.2"})));
    in_namespace(ns("node"), [&] {
      services_ = std::make_unique<ServiceCache>(*client_, "");
      proxier_ = std::make_unique<Proxier>(
          *services_, system_clock(), ProxierConfig{"n1", "iptables", config()},
          std::make_unique<CountingBackend>(std::make_unique<IptablesBackend>(*tool_, config()),
                                            counts_));
      proxier_->start();
      services_->start();
    });
    ASSERT_TRUE(proxier_->wait_synced(std::chrono::steady_clock::now() + 60s));
    good_ = saved();
    ASSERT_THAT(good_, ::testing::HasSubstr("10.42.0.2:8080"));
  }
  void TearDown() override {
    if (services_) services_->stop();
    proxier_.reset();
    IptablesKernel::TearDown();
  }

  static Object slice(const std::vector<std::string>& ips) {
    Json endpoints = Json::array();
    for (const std::string& ip : ips)
      endpoints.push_back({{"addresses", {ip}}, {"conditions", {{"ready", true}}}});
    return Object(Json{{"metadata",
                        {{"name", "web-1"},
                         {"namespace", "default"},
                         {"labels", {{"kubernetes.io/service-name", "web"}}}}},
                       {"addressType", "IPv4"},
                       {"endpoints", endpoints},
                       {"ports", {{{"name", ""}, {"protocol", "TCP"}, {"port", 8080}}}}});
  }
  void serve_from(const std::vector<std::string>& ips) {
    const auto now = client_->get(resources::kEndpointSlices, {"default", "web-1"});
    ASSERT_TRUE(now);
    Json changed = slice(ips).json();
    changed["metadata"]["resourceVersion"] = now->json()["metadata"]["resourceVersion"];
    const auto done = client_->update(resources::kEndpointSlices, Object(changed), "");
    ASSERT_TRUE(done) << done.error().message;
    ASSERT_TRUE(proxier_->wait_synced(std::chrono::steady_clock::now() + 60s));
  }
  // Somebody else's change.
  void change(const std::string& text) {
    in_namespace(ns("node"), [&] {
      const auto done = tool_->restore(text);
      ASSERT_TRUE(done) << text << done.error().message;
    });
  }
  // Whether the rules are as they were, before a deadline for slow machines; prints the time.
  bool repaired(const char* what) {
    const auto wanted = by_chain(good_, "203.0.113.");
    const auto began = std::chrono::steady_clock::now();
    for (;;) {
      const bool same = by_chain(saved(), "203.0.113.") == wanted;
      const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(
          std::chrono::steady_clock::now() - began);
      if (same) std::printf("%s: repaired in %d ms\n", what, static_cast<int>(took.count()));
      if (same || took > 60s) return same;
    }
  }
  static std::string rules_of_others(const std::string& text) {
    std::string out;
    for (std::size_t at = 0; at < text.size(); at = text.find('\n', at) + 1) {
      const std::string line = text.substr(at, text.find('\n', at) - at);
      if (line.find("203.0.113.") != std::string::npos) out += line + "\n";
    }
    return out;
  }
  static std::string svc() { return service_chain("KUBE-SVC-", "default/web", Protocol::Tcp); }
  static std::string sep() {
    return endpoint_chain("default/web", Protocol::Tcp, {ip("10.42.0.2"), 8080, false});
  }

  test::RegistryClient client_{system_clock()};
  CountingBackend::Counts counts_;
  std::unique_ptr<ServiceCache> services_;
  std::unique_ptr<Proxier> proxier_;
  std::string good_;
};

TEST_P(Repair, WhateverOthersDoToOurRulesUnderRequests) {
  struct Case {
    const char* name;
    std::string text;
  };
  const std::vector<Case> cases = {
      {"one rule deleted", "*nat\n-D " + svc() + " 2\nCOMMIT\n"},
      {"ACCEPT inserted on top", "*nat\n-I KUBE-SERVICES 1 -j ACCEPT\nCOMMIT\n"},
      {"DROP inserted in filter", "*filter\n-I KUBE-FORWARD 1 -j DROP\nCOMMIT\n"},
      {"one chain flushed", "*nat\n-F " + sep() + "\nCOMMIT\n"},
      {"a rule replaced by one as long",
       "*nat\n-R " + sep() +
           " 2 -p tcp -m comment --comment \"default/web\" -m tcp -j DNAT --to-destination "
           "10.42.0.9:8080\nCOMMIT\n"},
      {"a jump deleted", "*nat\n-D PREROUTING 1\nCOMMIT\n"},
      {"a jump deleted in filter", "*filter\n-D FORWARD 4\nCOMMIT\n"},
      {"a chain deleted", "*nat\n-F " + svc() + "\n-D KUBE-SERVICES 1\n-F KUBE-EXT-" +
                              service_chain("", "default/web", Protocol::Tcp) + "\n-X " + svc() +
                              "\nCOMMIT\n"},
  };
  std::atomic<int> good = 0;
  std::jthread requests([&](const std::stop_token& stop) {
    in_namespace(ns("p3"), [&] {
      while (!stop.stop_requested())
        good += ask(kVip, 80, SOCK_STREAM, kShortPatience) == "p0 10.42.0.5" ? 1 : 0;
    });
  });
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    change(c.text);
    EXPECT_TRUE(repaired(c.name)) << saved();
    EXPECT_EQ(tally("p3", kVip, 80, 2), (Tally{{"p0 10.42.0.5", 2}}));
    EXPECT_EQ(rules_of_others(saved()), rules_of_others(good_));
  }
  change("*nat\n-F\nCOMMIT\n*filter\n-F\nCOMMIT\n");
  EXPECT_TRUE(repaired("everything flushed")) << saved();
  EXPECT_EQ(tally("p3", kVip, 80, 2), (Tally{{"p0 10.42.0.5", 2}}));
  const int before = good;
  while (good < before + 20) std::this_thread::yield();
}

TEST_P(Repair, OurOwnChangesAndThoseOfOthersElsewhereAreNoDamage) {
  for (int i = 0; i < 5; ++i) {
    serve_from({"10.42.0.2", "10.42.0.3"});
    change(
        "*nat\n-A OTHERS -s 203.0.113.7/32 -j RETURN\nCOMMIT\n*filter\n-I FORWARD 1 -s "
        "203.0.113.8/32 -j DROP\nCOMMIT\n");
    serve_from({"10.42.0.2"});
  }
  // What is seen last is seen after all that, and after what the proxy knows of its own last
  // change.
  ASSERT_TRUE(repaired("the last change of ours"));
  ASSERT_TRUE(proxier_->wait_synced(std::chrono::steady_clock::now() + 60s));
  change("*nat\n-F KUBE-SERVICES\nCOMMIT\n");
  EXPECT_TRUE(repaired("a flush behind them"));
  ASSERT_TRUE(proxier_->wait_synced(std::chrono::steady_clock::now() + 60s));
  EXPECT_EQ(counts_.damages, 1);
}

TEST_P(Repair, EventsThatTheKernelDroppedLeadToALook) {
  if (GetParam() == IptablesVariant::Legacy) return;  // it has none
  proxier_->stop();
  sync({web(1)});
  const int least = 0;  // the kernel's minimum
  ASSERT_EQ(::setsockopt(backend_->events(), SOL_SOCKET, SO_RCVBUF, &least, sizeof least), 0);
  std::string many = "*nat\n";
  for (int i = 0; i < 100; ++i) many += ":OTHER-" + std::to_string(i) + " - [0:0]\n";
  change(many + "COMMIT\n");
  EXPECT_FALSE(intact());
  sync({web(1)});
  EXPECT_TRUE(intact());
  // Those of our own changes are not missed: else a repair would follow upon each repair.
  std::vector<ServicePort> ports(50, web(3));
  for (std::size_t i = 0; i < ports.size(); ++i) {
    ports[i].service.name += std::to_string(i);
    ports[i].cluster_ip = ip("10.96.1.0").plus(i);
    ports[i].node_port = 0;
  }
  sync(ports);
  EXPECT_TRUE(intact());
}

INSTANTIATE_TEST_SUITE_P(Variants, Repair,
                         ::testing::Values(IptablesVariant::Nft, IptablesVariant::Legacy),
                         [](const auto& parameter) {
                           return parameter.param == IptablesVariant::Nft ? "nft" : "legacy";
                         });

}  // namespace
}  // namespace coracle::proxy
