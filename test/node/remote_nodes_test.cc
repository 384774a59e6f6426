#include "node/remote_nodes.h"

#include <atomic>

#include "support/eventually.h"
#include "support/registry_client.h"

namespace coracle {
namespace {

const OwnNode kOwn{"n1", *Cidr::parse("10.42.0.0/24"), *Cidr::parse("10.42.0.0/16"),
                   *Ip::parse("192.0.2.6")};

Object node(const std::string& name, const std::string& cidr, const std::string& ip) {
  return Object(
      Json{{"metadata", {{"name", name}}},
           {"spec", {{"podCIDR", cidr}}},
           {"status", {{"addresses", Json::array({{{"type", "InternalIP"}, {"address", ip}}})}}}});
}

TEST(Remotes, AreTheNodesThatCanBeReachedAndNoOthers) {
  struct Case {
    const char *name, *cidr, *ip;
    bool counts;
  };
  for (const Case& c :
       {Case{"n2", "10.42.1.0/24", "192.0.2.7", true},
        Case{"n1", "10.42.1.0/24", "192.0.2.7", false},
        Case{"ours", "10.42.0.0/24", "192.0.2.7", false},
        Case{"everything", "0.0.0.0/0", "192.0.2.7", false},
        Case{"around ours", "10.42.0.0/20", "192.0.2.7", false},
        Case{"outside", "10.43.1.0/24", "192.0.2.7", false},
        Case{"no range", "", "192.0.2.7", false}, Case{"no address", "10.42.1.0/24", "", false},
        Case{"our address", "10.42.1.0/24", "192.0.2.6", false},
        Case{"a Pod's address", "10.42.1.0/24", "10.42.1.5", false},
        Case{"loopback", "10.42.1.0/24", "127.0.0.1", false},
        Case{"IPv6", "10.42.1.0/24", "2001:db8::1", false}}) {
    SCOPED_TRACE(c.name);
    const auto decoded = std::make_shared<const Node>(*Node::decode(node(c.name, c.cidr, c.ip)));
    const auto remotes = compute_remotes({decoded}, kOwn);
    ASSERT_EQ(remotes.size(), c.counts ? 1U : 0U);
    EXPECT_EQ(parse_remotes(remotes_text(remotes)), remotes);
  }
}

TEST(Remotes, OfTwoNodesWithOneRangeTheFirstByNameCounts) {
  std::vector<std::shared_ptr<const Node>> nodes;
  for (const auto& [name, ip] : {std::pair{"n2", "192.0.2.9"}, std::pair{"n3", "192.0.2.7"}})
    nodes.push_back(std::make_shared<const Node>(*Node::decode(node(name, "10.42.1.0/24", ip))));
  EXPECT_EQ(compute_remotes(nodes, kOwn),
            (std::vector<RemoteNode>{{*Cidr::parse("10.42.1.0/24"), *Ip::parse("192.0.2.9")}}));
  EXPECT_EQ(parse_remotes("10.42.1.0/24 192.0.2.9\nnonsense 192.0.2.9\n10.42.2.0/24").size(), 1U);
}

TEST(Peers, AreTheRemotesByNameAndBridge) {
  std::vector<std::shared_ptr<const Node>> nodes;
  for (const auto& [name, cidr] :
       {std::pair{"n2", "10.42.2.0/24"}, std::pair{"n3", "10.42.1.0/24"},
        std::pair{"n4", "10.42.1.0/24"}, std::pair{"n5", "10.43.1.0/24"}})
    nodes.push_back(std::make_shared<const Node>(*Node::decode(node(name, cidr, "192.0.2.7"))));
  auto ready = *nodes[0];
  ready.ready = true;
  nodes[0] = std::make_shared<const Node>(ready);
  EXPECT_EQ(compute_peers(nodes, kOwn),
            (std::vector<ProbePeer>{{"n3", *Ip::parse("10.42.1.1"), false},
                                    {"n2", *Ip::parse("10.42.2.1"), true}}));
}

TEST(Remotes, FollowTheApiButNotItsHeartbeats) {
  test::ManualClock clock;
  test::RegistryClient client(clock);
  std::atomic<int> changes{0};
  RemoteNodes peers(*client, [&] { ++changes; });
  EXPECT_FALSE(peers.remotes(kOwn));
  ASSERT_TRUE(client->create(resources::kNodes, node("n2", "10.42.1.0/24", "192.0.2.7")));
  ASSERT_TRUE(client->patch(resources::kNodes, {"", "n2"}, PatchType::JsonMerge,
                            node("n2", "10.42.1.0/24", "192.0.2.7").json(), "status"));
  peers.start();
  ASSERT_TRUE(test::eventually([&] {
    const auto remotes = peers.remotes(kOwn);
    return remotes && remotes->size() == 1;
  }));
  const int before = changes;
  ASSERT_TRUE(client->patch(resources::kNodes, {"", "n2"}, PatchType::JsonMerge,
                            {{"metadata", {{"labels", {{"zone", "a"}}}}}}, ""));
  ASSERT_TRUE(client->patch(resources::kNodes, {"", "n2"}, PatchType::JsonMerge,
                            node("n2", "10.42.1.0/24", "192.0.2.8").json(), "status"));
  ASSERT_TRUE(
      test::eventually([&] { return peers.remotes(kOwn)->at(0).ip == *Ip::parse("192.0.2.8"); }));
  ASSERT_TRUE(test::eventually([&] { return changes == before + 1; }));
  ASSERT_TRUE(client->remove(resources::kNodes, {"", "n2"}, {}));
  ASSERT_TRUE(test::eventually([&] { return peers.remotes(kOwn)->empty(); }));
  peers.stop();
}

}  // namespace
}  // namespace coracle
