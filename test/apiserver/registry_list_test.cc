// Lists: pages and selectors.
#include "registry_fixture.h"

namespace coracle {
namespace {

using resources::kConfigMaps;

class RegistryListTest : public RegistryFixture {};

TEST_F(RegistryListTest, PagesShowTheFirstPagesRevision) {
  for (int i = 0; i < 25; ++i) make(kConfigMaps, config_map("c" + std::to_string(100 + i)));
  ListRequest request;
  request.ns = "default";
  request.limit = 10;
  auto page = registry_->list(kind(kConfigMaps), request);
  ASSERT_TRUE(page);
  EXPECT_EQ(page->entries.size(), 10U);
  EXPECT_EQ(page->remaining, 15U);
  EXPECT_EQ(page->continue_token.find_first_not_of(
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"),
            std::string::npos);
  const Revision revision = page->revision;
  std::vector<std::string> names;
  for (const auto& e : page->entries) names.push_back(e->key);
  // Changes meanwhile are not seen.
  ASSERT_TRUE(remove(kConfigMaps, "c115"));
  make(kConfigMaps, config_map("c1155"));
  while (!page->continue_token.empty()) {
    request.continue_token = page->continue_token;
    page = registry_->list(kind(kConfigMaps), request);
    ASSERT_TRUE(page) << page.error().message;
    EXPECT_EQ(page->revision, revision);
    for (const auto& e : page->entries) names.push_back(e->key);
  }
  EXPECT_EQ(page->remaining, std::nullopt);
  ASSERT_EQ(names.size(), 25U);
  EXPECT_EQ(names[15], "/core/configmaps/default/c115");
  EXPECT_EQ(std::count(names.begin(), names.end(), "/core/configmaps/default/c1155"), 0);

  clock_.advance(std::chrono::minutes(6));
  page = registry_->list(kind(kConfigMaps), request);
  ASSERT_TRUE(page) << "the store's history still reaches back";
  EXPECT_EQ(page->revision, revision);
  for (const char* bad : {"x", "!!", "eyJ2IjoxfQ", "AAAA"}) {
    request.continue_token = bad;
    page = registry_->list(kind(kConfigMaps), request);
    ASSERT_FALSE(page);
    EXPECT_EQ(page.error().code, Code::BadRequest);
  }
}

TEST_F(RegistryListTest, ListsSelect) {
  for (const char* name : {"a", "ab", "b"}) {
    Json object = config_map(name);
    object["metadata"]["labels"] = {{"first", std::string(1, name[0])}};
    make(kConfigMaps, object);
  }
  ListRequest request;
  request.ns = "default";
  request.limit = 1;
  request.labels = *LabelSelector::parse("first=a");
  auto page = registry_->list(kind(kConfigMaps), request);
  ASSERT_TRUE(page);
  EXPECT_FALSE(page->continue_token.empty());
  EXPECT_EQ(page->remaining, std::nullopt);
  request = {};
  request.ns = "default";
  request.fields = *FieldSelector::parse("metadata.name=a");
  page = registry_->list(kind(kConfigMaps), request);
  ASSERT_TRUE(page);
  ASSERT_EQ(page->entries.size(), 1U);
  EXPECT_EQ(page->entries[0]->key, "/core/configmaps/default/a");
  request.fields = *FieldSelector::parse("spec.nodeName=a");
  page = registry_->list(kind(kConfigMaps), request);
  ASSERT_FALSE(page);
  EXPECT_EQ(page.error().message, "field label not supported: spec.nodeName");
  request = {};
  request.at_least = registry_->revision() + 1000;
  page = registry_->list(kind(kConfigMaps), request);
  ASSERT_FALSE(page);
  EXPECT_EQ(page.error().code, Code::Timeout);
}

}  // namespace
}  // namespace coracle
