// Names: spelling, bounds and what lies below what.
#include "node/dns/name.h"

#include <gtest/gtest.h>

namespace coracle::dns {
namespace {

Name name(const std::string& text) {
  return *Name::parse(text);
}
Bytes bytes_of(const std::string& text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

TEST(DnsName, FoldsAndPrints) {
  EXPECT_EQ(name("WeB.Default.").to_string(), "web.default.");
  EXPECT_EQ(name("a.b"), name("A.B."));
  EXPECT_EQ(Name().to_string(), ".");
  EXPECT_EQ(name("").to_string(), ".");
  EXPECT_EQ(name("a.b.c").label_count(), 3U);
  EXPECT_EQ(Name::from_wire(std::string("\3a.\\\1\x7f\0", 7)).to_string(), "a\\046\\092.\\127.");
}

TEST(DnsName, RefusesWhatIsNone) {
  EXPECT_FALSE(Name::parse("a..b"));
  EXPECT_FALSE(Name::parse(".a"));
  EXPECT_FALSE(Name::parse("a.."));
  EXPECT_TRUE(Name::parse(std::string(63, 'a')));
  EXPECT_FALSE(Name::parse(std::string(64, 'a')));
  std::string longest;
  for (int i = 0; i < 127; ++i) longest += "a.";
  EXPECT_TRUE(Name::parse(longest));  // 127 * 2 + 1 = 255
  EXPECT_FALSE(Name::parse("b." + longest));
}

TEST(DnsName, IsBelowAtLabelsOnly) {
  EXPECT_TRUE(name("a.cluster.local").is_under(name("cluster.local")));
  EXPECT_TRUE(name("cluster.local").is_under(name("cluster.local")));
  EXPECT_TRUE(name("a").is_under(Name()));
  EXPECT_FALSE(name("acluster.local").is_under(name("cluster.local")));
  EXPECT_FALSE(name("local").is_under(name("cluster.local")));
  // A label that holds the bytes of the ancestor's first length is no boundary.
  EXPECT_FALSE(Name::from_wire(std::string("\7x\5local\0", 9)).is_under(name("local")));
  EXPECT_EQ(name("a.b.c").below(name("c")), "\1a\1b");
}

TEST(DnsName, SizeIsBounded) {
  const std::string pointer = std::string("\1a\xc0\x0c", 4);
  EXPECT_EQ(name_size(bytes_of(pointer), 0), 0U);
  EXPECT_EQ(name_size(bytes_of(std::string("\1a")), 0), 0U);
  EXPECT_EQ(name_size(bytes_of(std::string("\1a\0", 3)), 0), 3U);
  EXPECT_EQ(name_size(bytes_of(std::string("\1a\0", 3)), 3), 0U);
  std::string longest;
  for (int i = 0; i < 127; ++i) longest += "\1a";
  EXPECT_EQ(name_size(bytes_of(longest + '\0'), 0), 255U);
  EXPECT_EQ(name_size(bytes_of("\1a" + longest + '\0'), 0), 0U);
}

}  // namespace
}  // namespace coracle::dns
