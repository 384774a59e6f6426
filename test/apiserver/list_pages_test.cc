// Lists in pages: all of one revision, for as long as it is remembered.
#include <apiserver/registry_pages.h>

#include "list_watch_fixture.h"

namespace coracle {
namespace {

using resources::kConfigMaps;

TEST_F(ListWatchTest, PagesAreOneState) {
  const Response first = maps("limit=1");
  EXPECT_EQ(first.json()["metadata"]["remainingItemCount"], 2);
  const std::string revision = first.revision();
  ASSERT_TRUE(remove(kConfigMaps, "b"));
  make(kConfigMaps, config_map("bb"));
  ASSERT_TRUE(patch(kConfigMaps, "c", {{"data", {{"a", "later"}}}}));
  const Response second = maps("limit=1&continue=" + first.next());
  EXPECT_EQ(second.names(), "b");
  EXPECT_EQ(second.revision(), revision);
  EXPECT_EQ(second.json()["metadata"]["remainingItemCount"], 1);
  const Response third = maps("limit=5&resourceVersion=0&continue=" + second.next());
  EXPECT_EQ(third.names(), "c");
  EXPECT_EQ(json_string(third.json()["items"][0], {"data", "a"}), "1");
  EXPECT_EQ(third.revision(), revision);
  EXPECT_EQ(third.next(), "");
  EXPECT_FALSE(third.json()["metadata"].contains("remainingItemCount"));
  EXPECT_EQ(maps("labelSelector=group&limit=1").json()["metadata"].count("remainingItemCount"), 0U);
  EXPECT_EQ(maps("limit=1&resourceVersion={now}&continue=" + first.next()).code, 400);
  EXPECT_EQ(get("/api/v1/namespaces/other/configmaps?limit=1&continue=" + first.next()).code, 400);
  const Response table = maps("limit=1", kTable);
  EXPECT_EQ(maps("continue=" + table.next(), kPartials).json()["items"].size(), 2U);
}

TEST_F(ListWatchTest, PagesOfARevisionInThePast) {
  const Response first = maps("limit=1&resourceVersion={mid}");
  EXPECT_EQ(first.names(), "a");
  EXPECT_EQ(first.revision(), mid_);
  const Response second = maps("limit=1&continue=" + first.next());
  EXPECT_EQ(second.names(), "b");
  EXPECT_EQ(second.revision(), mid_);
  EXPECT_EQ(second.next(), "");
}

// The cache of pages has forgotten the list, the store's history has not.
TEST_F(ListWatchTest, OldTokensWorkAsLongAsTheHistoryReaches) {
  const Response first = maps("limit=1&labelSelector=group%3Done");
  clock_.advance(std::chrono::hours(1));
  ASSERT_TRUE(remove(kConfigMaps, "c"));
  const Response second = maps("limit=1&labelSelector=group%3Done&continue=" + first.next());
  EXPECT_EQ(second.names(), "c");
  EXPECT_EQ(second.revision(), first.revision());
}

TEST_F(ListWatchTest, ExpiredTokensComeWithAnotherOne) {
  const std::string token = encode_continue({1, "/core/configmaps/default/a"});
  const Response expired = maps("limit=1&continue=" + token);
  EXPECT_EQ(expired.code, 410);
  EXPECT_EQ(json_string(expired.json(), {"reason"}), "Expired");
  ASSERT_NE(expired.next(), "");
  const Response rest = maps("limit=1&continue=" + expired.next());
  EXPECT_EQ(rest.names(), "b");
  EXPECT_EQ(rest.revision(), now());
  make(kConfigMaps, config_map("bb"));
  EXPECT_EQ(maps("continue=" + rest.next()).names(), "c") << "consistent again from there on";
}

}  // namespace
}  // namespace coracle
