#include "node/ipam.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace coracle {
namespace {

class IpamTest : public testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/coracle-ipam-XXXXXX";
    ASSERT_NE(mkdtemp(pattern), nullptr);
    dir_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  Ipam open(const std::string& cidr = "10.42.0.0/29") {
    auto ipam = Ipam::open(dir_ + "/ipam", *Cidr::parse(cidr));
    EXPECT_TRUE(ipam) << ipam.error().message;
    return std::move(*ipam);
  }
  static std::string give(Ipam& ipam, const std::string& uid) {
    const auto ip = ipam.allocate(uid);
    return ip ? ip->to_string() : ip.error().message;
  }
  std::string dir_;
};

TEST_F(IpamTest, RemovesWhatAKilledAgentLeftHalfWritten) {
  std::filesystem::create_directories(dir_ + "/ipam");
  std::ofstream(dir_ + "/ipam/10.42.0.3.tmp") << "uid-1\n";
  std::ofstream(dir_ + "/ipam/10.42.0.2") << "uid-2\n";
  Ipam ipam = open();
  EXPECT_FALSE(std::filesystem::exists(dir_ + "/ipam/10.42.0.3.tmp"));
  EXPECT_FALSE(ipam.find("uid-1"));
  EXPECT_EQ(ipam.find("uid-2"), *Ip::parse("10.42.0.2"));
}

TEST_F(IpamTest, SkipsNetworkBridgeAndBroadcastAndSaysWhenFull) {
  Ipam ipam = open();
  for (const char* expected : {"10.42.0.2", "10.42.0.3", "10.42.0.4", "10.42.0.5", "10.42.0.6"})
    EXPECT_EQ(give(ipam, std::string("uid-") + expected), expected);
  const auto full = ipam.allocate("one more");
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().code, Code::Unavailable);
  EXPECT_EQ(full.error().message, "no free address in 10.42.0.0/29: all 5 are in use");
}

TEST_F(IpamTest, TheSamePodHasTheSameAddressAcrossRestarts) {
  std::string first;
  {
    Ipam ipam = open();
    first = give(ipam, "a");
    EXPECT_EQ(give(ipam, "a"), first);
    (void)give(ipam, "b");
  }
  Ipam again = open();
  EXPECT_EQ(give(again, "a"), first);
  EXPECT_EQ(give(again, "c"), "10.42.0.4");
  EXPECT_EQ(again.allocations().size(), 3U);
}

TEST_F(IpamTest, AReleasedAddressIsUsedAgainLastAlsoAfterARestart) {
  {
    Ipam ipam = open();
    (void)give(ipam, "a");
    ASSERT_TRUE(ipam.release("a"));
    ASSERT_TRUE(ipam.release("a"));
  }
  Ipam ipam = open();
  for (const char* expected : {"10.42.0.3", "10.42.0.4", "10.42.0.5", "10.42.0.6", "10.42.0.2"})
    EXPECT_EQ(give(ipam, std::string("uid-") + expected), expected);
}

TEST_F(IpamTest, ADamagedRecordKeepsItsAddressTakenUntilItIsCollected) {
  {
    Ipam ipam = open();
    (void)give(ipam, "a");
  }
  std::ofstream(dir_ + "/ipam/10.42.0.2", std::ios::trunc).flush();
  std::ofstream(dir_ + "/ipam/10.42.0.3.tmp") << "x";
  std::ofstream(dir_ + "/ipam/last", std::ios::trunc) << "nonsense";
  Ipam ipam = open();
  EXPECT_EQ(give(ipam, "b"), "10.42.0.3");
  ASSERT_TRUE(ipam.retain({"b"}));
  EXPECT_EQ(ipam.allocations().size(), 1U);
  EXPECT_EQ(open().allocations().size(), 1U);
}

TEST_F(IpamTest, ANewPodCidrGivesNewAddresses) {
  {
    Ipam ipam = open();
    (void)give(ipam, "a");
  }
  Ipam moved = open("10.43.0.0/24");
  EXPECT_EQ(moved.find("a")->to_string(), "10.42.0.2");
  EXPECT_EQ(give(moved, "a"), "10.43.0.2");
  EXPECT_EQ(moved.allocations().size(), 1U);
}

TEST_F(IpamTest, RefusesWhatIsNoUidAndTinyOrForeignRanges) {
  Ipam ipam = open("10.42.0.0/31");
  EXPECT_EQ(ipam.allocate("a").error().code, Code::Unavailable);
  EXPECT_EQ(ipam.allocate("").error().code, Code::BadRequest);
  EXPECT_EQ(ipam.allocate("a\nb").error().code, Code::BadRequest);
  EXPECT_EQ(Ipam::open(dir_, *Cidr::parse("fd00::/64")).error().code, Code::BadRequest);
}

}  // namespace
}  // namespace coracle
