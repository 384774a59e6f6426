// The informer against a scripted API: what it does when lists fail, watches end and expire.
#include <coracle/informer.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "scripted_client.h"

namespace coracle {
namespace {

using namespace std::chrono_literals;

using Type = WatchEvent::Type;

class InformerTest : public ::testing::Test {
 protected:
  void start() {
    informer_.add_index("value", [](const Value& v) { return std::vector<std::string>{v.value}; });
    informer_.on_change_values([this](const ObjectKey& key, const auto& old, const auto& now) {
      // The cache has changed already.
      EXPECT_EQ(informer_.get(key), now);
      const std::lock_guard lock(mutex_);
      heard_ += key.name + ":" + (old ? old->value : "-") + ">" + (now ? now->value : "-") + " ";
      changed_.notify_all();
    });
    informer_.start();
  }
  void expect_heard(const std::string& expected) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, 10s, [&] { return heard_ == expected; });
    EXPECT_EQ(heard_, expected);
  }
  ScriptedClient client_;
  Informer<Value> informer_{client_, resources::kConfigMaps};
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string heard_;
};

TEST_F(InformerTest, ListsThenFollows) {
  client_.will_list(ObjectList{{object("a", 1, "x"), object("b", 2, "y")}, 5});
  client_.will_watch({std::vector<WatchEvent>{{Type::Added, object("c", 6, "x")},
                                              {Type::Modified, object("a", 7, "z")},
                                              {Type::Bookmark, object("", 8)}},
                      std::vector<WatchEvent>{{Type::Deleted, object("b", 9)}},
                      std::vector<WatchEvent>{}});  // a clean end
  start();
  expect_heard("a:->x b:->y c:->x a:x>z b:y>- ");
  ASSERT_TRUE(client_.await_watches(2));
  EXPECT_EQ(client_.watched_from(), (std::vector<Revision>{5, 9}));
  EXPECT_TRUE(informer_.synced());
  EXPECT_EQ(informer_.list().size(), 2U);
  ASSERT_EQ(informer_.by_index("value", "x").size(), 1U);
  EXPECT_EQ(informer_.by_index("value", "x")[0]->name, "c");
  EXPECT_TRUE(informer_.by_index("value", "y").empty());
  EXPECT_EQ(informer_.get({"ns", "b"}), nullptr);
}

TEST_F(InformerTest, RelistsWhenExpiredAndTellsOnlyDifferences) {
  client_.will_list(ObjectList{{object("a", 1, "x"), object("b", 2, "y"), object("c", 3, "w")}, 5});
  client_.will_watch({Error{Code::Expired, "too old"}});
  client_.will_list(
      ObjectList{{object("a", 1, "x"), object("b", 40, "z"), object("d", 41, "v")}, 50});
  start();
  expect_heard("a:->x b:->y c:->w b:y>z d:->v c:w>- ");
  ASSERT_TRUE(client_.await_watches(2));
  EXPECT_EQ(client_.watched_from(), (std::vector<Revision>{5, 50}));
}

TEST_F(InformerTest, ABrokenConnectionResumesWithoutAList) {
  client_.will_list(ObjectList{{object("a", 1, "x")}, 5});
  client_.will_watch({std::vector<WatchEvent>{{Type::Modified, object("a", 6, "y")}},
                      Error{Code::Unavailable, "connection reset"}});
  client_.will_watch({std::vector<WatchEvent>{{Type::Modified, object("a", 7, "z")}}});
  start();
  expect_heard("a:->x a:x>y a:y>z ");
  EXPECT_EQ(client_.watched_from()[1], 6);
}

TEST_F(InformerTest, AFailedListIsTriedAgain) {
  client_.will_list(Error{Code::Unavailable, "not yet"});
  client_.will_list(Error{Code::Internal, "not yet"});
  client_.will_list(ObjectList{{object("a", 1, "x")}, 5});
  start();
  EXPECT_TRUE(informer_.wait_synced(std::chrono::steady_clock::now() + 60s));
  expect_heard("a:->x ");
}

TEST_F(InformerTest, WhatCannotBeDecodedIsAbsent) {
  client_.will_list(ObjectList{{object("a", 1, "x"), object("b", 2, "broken")}, 5});
  client_.will_watch({std::vector<WatchEvent>{{Type::Modified, object("a", 6, "broken")},
                                              {Type::Modified, object("b", 7, "y")}}});
  start();
  expect_heard("a:->x a:x>- b:->y ");
}

TEST_F(InformerTest, StopsWhileItWaitsToTryAgain) {
  start();  // every list fails
  EXPECT_FALSE(informer_.wait_synced(std::chrono::steady_clock::now() + 300ms));
  const auto before = std::chrono::steady_clock::now();
  informer_.stop();
  EXPECT_LT(std::chrono::steady_clock::now() - before, 3s) << "it waited its back-off out";
}

TEST_F(InformerTest, ListenersHearInTheirOrder) {
  client_.will_list(ObjectList{{object("a", 1, "x"), object("b", 2, "y")}, 5});
  client_.will_watch({std::vector<WatchEvent>{{Type::Deleted, object("a", 6, "x")}}});
  const auto listen = [this](const std::string& name) {
    informer_.on_change([this, name](const ObjectKey& key) {
      const std::lock_guard lock(mutex_);
      heard_ += name + key.name + " ";
      changed_.notify_all();
    });
  };
  listen("first-");
  listen("second-");
  informer_.start();
  expect_heard("first-a second-a first-b second-b first-a second-a ");
}

TEST_F(InformerTest, ASecondObjectOfTheSameNameIsAChange) {
  Object again = object("a", 1, "z");
  again.json()["metadata"]["uid"] = "uid-of-another";
  client_.will_list(ObjectList{{object("a", 1, "x")}, 5});
  client_.will_watch({Error{Code::Expired, "too old"}});
  client_.will_list(ObjectList{{again}, 50});
  start();
  expect_heard("a:->x a:x>z ");
}

TEST_F(InformerTest, ABusyServerIsNotListedAgain) {
  client_.will_list(ObjectList{{object("a", 1, "x")}, 5});
  client_.will_watch({Error{Code::TooManyRequests, "no thread left"}});
  client_.will_watch({Error{Code::Timeout, "slow"}});
  start();
  ASSERT_TRUE(client_.await_watches(3));
  EXPECT_EQ(client_.watched_from(), (std::vector<Revision>{5, 5, 5}));
}

TEST_F(InformerTest, AnyOtherErrorOfAWatchStartsOver) {
  client_.will_list(ObjectList{{object("a", 100, "x")}, 500});
  client_.will_watch({Error{Code::BadRequest, "a revision of the future"}});
  client_.will_list(ObjectList{{object("b", 1, "y")}, 3});
  start();
  expect_heard("a:->x b:->y a:x>- ");
  ASSERT_TRUE(client_.await_watches(2));
  EXPECT_EQ(client_.watched_from(), (std::vector<Revision>{500, 3}));
}

TEST_F(InformerTest, WatchesThatEndAtOnceAreOpenedEverMoreSlowly) {
  client_.will_list(ObjectList{{}, 5});
  for (int i = 0; i < 500; ++i)
    client_.will_watch(
        {std::vector<WatchEvent>{{Type::Bookmark, object("", 5)}}, std::vector<WatchEvent>{}});
  const auto before = std::chrono::steady_clock::now();
  start();
  ASSERT_TRUE(client_.await_watches(4));
  EXPECT_GE(std::chrono::steady_clock::now() - before, 200ms);
}

TEST_F(InformerTest, ListsThatExpireAtOnceAreAskedEverMoreSlowly) {
  for (int i = 0; i < 500; ++i) {
    client_.will_list(ObjectList{{}, 5});
    client_.will_watch({Error{Code::Expired, "too old"}});
  }
  const auto before = std::chrono::steady_clock::now();
  start();
  ASSERT_TRUE(client_.await_watches(4));
  EXPECT_GE(std::chrono::steady_clock::now() - before, 200ms);
}

TEST_F(InformerTest, StopsInTheMiddleOfAWatch) {
  client_.will_list(ObjectList{{object("a", 1, "x")}, 5});
  start();
  ASSERT_TRUE(client_.await_watches(1));
  const auto before = std::chrono::steady_clock::now();
  informer_.stop();
  EXPECT_LT(std::chrono::steady_clock::now() - before, 3s);
  EXPECT_NE(informer_.get({"ns", "a"}), nullptr) << "what was known stays known";
}

// Readers see whole states while the cache changes: an index never leads to a value that is not of
// it.
TEST_F(InformerTest, LookupsGoOnWhileTheCacheChanges) {
  client_.will_list(ObjectList{{object("last", 1, "-")}, 5});
  ScriptedClient::Watch script;
  Revision revision = 5;
  for (int i = 0; i < 2000; ++i) {
    const std::string name = "o" + std::to_string(i % 7);
    const auto type = i % 5 == 4 ? Type::Deleted : Type::Modified;
    script.push_back(
        std::vector<WatchEvent>{{type, object(name, ++revision, i % 2 == 0 ? "even" : "odd")}});
  }
  script.push_back(std::vector<WatchEvent>{{Type::Modified, object("last", ++revision, "over")}});
  client_.will_watch(std::move(script));
  const auto over = [this] {
    const auto last = informer_.get({"ns", "last"});
    return last != nullptr && last->value == "over";
  };
  informer_.add_index("value", [](const Value& v) { return std::vector<std::string>{v.value}; });
  informer_.on_change([&](const ObjectKey&) {
    const std::lock_guard lock(mutex_);
    changed_.notify_all();
  });
  {
    std::vector<std::jthread> readers(3);
    for (auto& reader : readers)
      reader = std::jthread([&](const std::stop_token& stop) {
        while (!over() && !stop.stop_requested()) {
          for (const char* value : {"even", "odd"})
            for (const auto& found : informer_.by_index("value", value))
              ASSERT_EQ(found->value, value);
          ASSERT_LE(informer_.list().size(), 8U);
        }
      });
    informer_.start();
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, 60s, over));
  }
  EXPECT_EQ(informer_.by_index("value", "even").size() + informer_.by_index("value", "odd").size(),
            informer_.list().size() - 1);
}

}  // namespace
}  // namespace coracle
