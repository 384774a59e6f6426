#include <apiserver/resources/ip_allocator.h>
#include <gtest/gtest.h>

#include <random>
#include <set>

namespace coracle {
namespace {

TEST(AllocatorBands, FollowUpstreamsFormula) {
  struct Case {
    std::uint64_t size;
    std::size_t band;
  };
  for (const Case& c : {Case{4, 0},
                        {16, 0},
                        {32, 16},
                        {256, 16},
                        {512, 32},
                        {4096, 256},
                        {65536, 256},
                        {1ULL << 20U, 256}})
    EXPECT_EQ(address_band(c.size), c.band) << c.size;
  EXPECT_EQ(port_band(2768), 86U);
}

TEST(IpAllocator, PrefersTheUpperBandAndUsesTheLowerLast) {
  const Cidr range = *Cidr::parse("10.0.0.0/24");
  IpAllocator allocator(range);
  allocator.reserve(*Ip::parse("10.0.0.1"));
  allocator.reserve(*Ip::parse("10.0.0.10"));
  std::set<Ip> seen;
  for (int i = 0; i < 254 - 16; ++i) {
    const auto ip = allocator.take_any();
    ASSERT_TRUE(ip);
    EXPECT_GT(ip->to_v4() & 255U, 16U);
    EXPECT_TRUE(seen.insert(*ip).second);
  }
  for (int i = 0; i < 14; ++i) {
    const auto ip = allocator.take_any();
    ASSERT_TRUE(ip);
    EXPECT_TRUE(seen.insert(*ip).second);
  }
  const auto full = allocator.take_any();
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().message, "range is full");
  EXPECT_TRUE(allocator.take(*Ip::parse("10.0.0.1")));
  EXPECT_EQ(seen.count(*Ip::parse("10.0.0.0")) + seen.count(*Ip::parse("10.0.0.255")), 0U);
}

TEST(IpAllocator, RefusesWithUpstreamsTexts) {
  IpAllocator allocator(*Cidr::parse("10.96.0.0/16"));
  EXPECT_TRUE(allocator.take(*Ip::parse("10.96.3.4")));
  EXPECT_EQ(allocator.take(*Ip::parse("10.96.3.4")).error().message,
            "provided IP is already allocated");
  for (const char* outside :
       {"10.95.255.255", "10.97.0.0", "10.96.0.0", "10.96.255.255", "fd00::1"})
    EXPECT_EQ(allocator.take(*Ip::parse(outside)).error().message,
              std::string("the provided IP (") + outside +
                  ") is not in the valid range. The range of valid IPs is 10.96.0.0/16");
}

TEST(PortAllocator, RefusesWithUpstreamsTexts) {
  PortAllocator allocator(30000, 32767);
  EXPECT_TRUE(allocator.take(30000));
  EXPECT_EQ(allocator.take(30000).error().message, "provided port is already allocated");
  for (const std::int64_t outside : {0L, 29999L, 32768L, -1L, 1L << 40})
    EXPECT_EQ(allocator.take(outside).error().message,
              "provided port is not in the valid range. The range of valid ports is 30000-32767");
  allocator.release(30000);
  EXPECT_TRUE(allocator.take(30000));
}

// Whatever the order of takes and releases: nothing is given twice, nothing is lost.
TEST(BitmapAllocator, NeverGivesTwiceAndLosesNothing) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (const std::size_t size : {1U, 2U, 17U, 100U, 1000U}) {
    BitmapAllocator allocator(size, size / 8);
    std::set<std::size_t> held;
    for (int step = 0; step < 5000; ++step) {
      switch (random() % 3) {
        case 0: {
          const auto item = allocator.take_any();
          ASSERT_EQ(item.has_value(), held.size() < size);
          if (item) {
            ASSERT_TRUE(held.insert(*item).second);
          }
          break;
        }
        case 1: {
          const std::size_t item = random() % size;
          ASSERT_EQ(allocator.take(item), held.insert(item).second);
          break;
        }
        default: {
          const std::size_t item = random() % size;
          allocator.release(item);
          held.erase(item);
        }
      }
      ASSERT_EQ(allocator.used(), held.size());
    }
  }
}

}  // namespace
}  // namespace coracle
