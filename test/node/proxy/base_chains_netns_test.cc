// The tables and base chains that iptables-nft makes in passing go again, others' stay. In a
// network namespace of the test's own.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "node/netns.h"
#include "node/proxy/base_chains.h"
#include "node/proxy/iptables_tool.h"

namespace coracle {
namespace {

TEST(MissingChains, AreThoseOfIptablesThatAreNotThere) {
  NftNames there;
  there.tables = {"filter", "mangle", "other"};
  there.chains = {{"filter", "INPUT"}, {"filter", "OUTPUT"}, {"other", "FORWARD"}};
  for (const char* chain : {"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"})
    there.chains.insert({"mangle", chain});
  const MissingChains missing = missing_chains(there);
  EXPECT_EQ(missing.tables, (std::set<std::string>{"nat", "raw"}));
  EXPECT_EQ(missing.chains, (std::set<NftChain>{{"filter", "FORWARD"},
                                                {"nat", "INPUT"},
                                                {"nat", "OUTPUT"},
                                                {"nat", "POSTROUTING"},
                                                {"nat", "PREROUTING"},
                                                {"raw", "OUTPUT"},
                                                {"raw", "PREROUTING"}}));
}

class BaseChainsTest : public testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/coracle-chains-XXXXXX";
    ASSERT_NE(mkdtemp(pattern), nullptr);
    dir_ = pattern;
    auto ns = NetNs::create(dir_, "machine");
    ASSERT_TRUE(ns) << ns.error().message;
    ns_.emplace(std::move(*ns));
  }
  void TearDown() override {
    ns_.reset();
    EXPECT_TRUE(NetNs::remove(dir_, "machine"));
    std::filesystem::remove_all(dir_);
  }
  void restore(const std::string& text) {
    const auto done = run_in_netns(ns_->fd(), [&]() -> Result<void> {
      return TRY(IptablesTool::open(IptablesVariant::Nft)).restore(text);
    });
    ASSERT_TRUE(done) << done.error().message;
  }
  void with_record(Result<void> (BaseChains::*what)() const, const char* name = "record") {
    const auto done =
        run_in_netns(ns_->fd(), [&] { return (BaseChains(dir_ + "/" + name).*what)(); });
    ASSERT_TRUE(done) << done.error().message;
  }
  NftNames names() {
    NftNames names;
    const auto done = run_in_netns(ns_->fd(), [&]() -> Result<void> {
      names = TRY(nft_names());
      return {};
    });
    EXPECT_TRUE(done) << done.error().message;
    return names;
  }

  std::string dir_;
  std::optional<NetNs> ns_;
};

constexpr const char* kNat = "*nat\n:OURS - [0:0]\n-A POSTROUTING -j OURS\nCOMMIT\n";
constexpr const char* kNoNat = "*nat\n:OURS - [0:0]\n-D POSTROUTING -j OURS\n-X OURS\nCOMMIT\n";

TEST_F(BaseChainsTest, WhatWasMadeInPassingGoesAndWhatWasThereStays) {
  restore("*filter\n-A INPUT -j ACCEPT\n-D INPUT -j ACCEPT\nCOMMIT\n");  // leaves an empty chain
  const NftNames before = names();
  ASSERT_EQ(before.chains, (std::set<NftChain>{{"filter", "INPUT"}}));
  with_record(&BaseChains::remember);
  restore(kNat);
  restore("*filter\n-A FORWARD -j ACCEPT\n-D FORWARD -j ACCEPT\nCOMMIT\n");
  with_record(&BaseChains::remember);  // as after a restart: it knows better
  restore(kNoNat);
  with_record(&BaseChains::remove);
  EXPECT_EQ(names().tables, before.tables);
  EXPECT_EQ(names().chains, before.chains);
  EXPECT_FALSE(std::filesystem::exists(dir_ + "/record"));
  with_record(&BaseChains::remove);
  EXPECT_EQ(names().chains, before.chains);
}

TEST_F(BaseChainsTest, WhatOthersHaveBegunToUseStays) {
  with_record(&BaseChains::remember);
  restore(kNat);
  restore("*nat\n-A OUTPUT -d 192.0.2.1/32 -j ACCEPT\nCOMMIT\n");
  restore("*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\nCOMMIT\n");
  restore(kNoNat);
  with_record(&BaseChains::remove);
  EXPECT_EQ(names().chains, (std::set<NftChain>{{"filter", "FORWARD"}, {"nat", "OUTPUT"}}));
  EXPECT_EQ(names().dropping, (std::set<NftChain>{{"filter", "FORWARD"}}));
}

TEST_F(BaseChainsTest, ALaterOwnerRemovesWhatAnEarlierOneMade) {
  with_record(&BaseChains::remember);
  restore(kNat);
  with_record(&BaseChains::remember, "later");
  const auto handed = run_in_netns(ns_->fd(), [&] {
    return BaseChains(dir_ + "/record").hand_over(BaseChains(dir_ + "/later"));
  });
  ASSERT_TRUE(handed) << handed.error().message;
  EXPECT_FALSE(std::filesystem::exists(dir_ + "/record"));
  restore(kNoNat);
  with_record(&BaseChains::remove, "later");
  EXPECT_TRUE(names().tables.empty());
}

}  // namespace
}  // namespace coracle
