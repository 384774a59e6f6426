// Informers that keep what they know in a file, and begin with it.
#include <coracle/files.h>
#include <coracle/informer.h>
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <filesystem>

#include "scripted_client.h"
#include "support/eventually.h"

namespace coracle {
namespace {

using namespace std::chrono_literals;
using Type = WatchEvent::Type;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

// An informer and the API it talks to: one run of a program.
class Program {
 public:
  explicit Program(const std::string& path, const Resource& resource = resources::kConfigMaps,
                   const ListOptions& options = {})
      : informer_(client, resource, options) {
    informer_.on_change_values([this](const ObjectKey& key, const auto& old, const auto& now) {
      const std::lock_guard lock(mutex_);
      heard_ += key.name + ":" + (old ? old->value : "-") + ">" + (now ? now->value : "-") + " ";
    });
    informer_.on_synced([this] {
      const std::lock_guard lock(mutex_);
      heard_ += "synced ";
    });
    informer_.keep(path);
  }
  Informer<Value>* operator->() { return &informer_; }
  bool fills() { return informer_.wait_filled(std::chrono::steady_clock::now() + 60s); }
  bool hears(const std::string& expected) {
    return test::eventually([&] { return heard() == expected; });
  }
  std::string heard() {
    const std::lock_guard lock(mutex_);
    return heard_;
  }
  std::vector<std::string> state() {
    std::vector<std::string> out;
    for (const auto& value : informer_.list()) out.push_back(value->name + "=" + value->value);
    return out;
  }
  // Lists, follows what the script has, and stops.
  void complete() {
    informer_.start();
    EXPECT_TRUE(client.await_watches(1));
    EXPECT_TRUE(test::eventually([&] { return client.exhausted(); }));
    informer_.stop();
  }

  ScriptedClient client;

 private:
  std::mutex mutex_;
  std::string heard_;
  Informer<Value> informer_;
};

class KeptList : public ::testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/coracle-kept-XXXXXX";
    ASSERT_NE(mkdtemp(path), nullptr);
    dir_ = path;
    path_ = dir_ + "/kept/configmaps";
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  void keep(const std::vector<Object>& objects, ScriptedClient::Watch events = {}) {
    Program run(path_);
    run.client.will_list(ObjectList{objects, 5});
    run.client.will_watch(std::move(events));
    run.complete();
  }
  // What a run without a server begins with.
  std::vector<std::string> kept() {
    Program run(path_);
    run->start();
    EXPECT_TRUE(run.fills());
    EXPECT_FALSE(run->synced());
    return run.state();
  }
  // The same, where nothing usable is kept.
  void expect_nothing(Program& run) {
    run->start();
    EXPECT_TRUE(test::eventually([&] { return run.client.lists_asked() > 0; }));
    EXPECT_FALSE(run->filled());
    EXPECT_THAT(run.state(), IsEmpty());
  }
  std::string text() { return *read_whole_file(path_); }
  void damage(std::size_t at) {
    std::string all = text();
    all.at(at) = static_cast<char>(all.at(at) ^ 1);
    ASSERT_TRUE(write_file_atomically(path_, all, 0600));
  }

  std::string dir_, path_;
};

TEST_F(KeptList, IsTheStateUntilTheServerHasTold) {
  keep({object("a", 1, "x"), object("b", 2, "y"), object("c", 3, "z")});
  Program run(path_);
  EXPECT_FALSE(run->filled());
  run->start();  // nobody answers
  ASSERT_TRUE(run.fills());
  EXPECT_FALSE(run->synced());
  EXPECT_THAT(run.state(), ElementsAre("a=x", "b=y", "c=z"));
  EXPECT_EQ(run.heard(), "a:->x b:->y c:->z ");
  // Now it does: what is the same is no news.
  run.client.will_list(ObjectList{{object("a", 1, "x"), object("b", 9, "w"), object("d", 8)}, 10});
  EXPECT_TRUE(run.hears("a:->x b:->y c:->z b:y>w d:-> c:z>- synced "));
  EXPECT_TRUE(run->synced());
  EXPECT_THAT(run.state(), ElementsAre("a=x", "b=w", "d="));
  run->stop();
  EXPECT_THAT(kept(), ElementsAre("a=x", "b=w", "d="));
}

TEST_F(KeptList, FollowsTheWatch) {
  keep({object("a", 1, "x"), object("b", 2, "y")},
       {std::vector<WatchEvent>{{Type::Modified, object("a", 6, "z")},
                                {Type::Added, object("c", 7, "new")}},
        std::vector<WatchEvent>{{Type::Deleted, object("b", 8)}}});
  EXPECT_THAT(kept(), ElementsAre("a=z", "c=new"));
  EXPECT_THAT(kept(), ElementsAre("a=z", "c=new")) << "a run that was told nothing changes nothing";
}

TEST_F(KeptList, AnEmptyOneIsKnowledgeToo) {
  keep({});
  EXPECT_THAT(kept(), IsEmpty());
}

TEST_F(KeptList, WhatCannotBeDecodedIsNotKept) {
  keep({object("a", 1, "x"), object("b", 2, "broken")},
       {std::vector<WatchEvent>{{Type::Modified, object("a", 6, "broken")}}});
  EXPECT_THAT(kept(), IsEmpty());
}

TEST_F(KeptList, NothingIsWrittenWhenNothingChanged) {
  keep({object("a", 1, "x"), object("b", 2, "y")});
  struct stat before {};
  struct stat after {};
  ASSERT_EQ(stat(path_.c_str(), &before), 0);
  keep({object("a", 1, "x"), object("b", 2, "y")},
       {std::vector<WatchEvent>{{Type::Bookmark, object("", 8)}},
        std::vector<WatchEvent>{{Type::Modified, object("a", 1, "x")}}});
  ASSERT_EQ(stat(path_.c_str(), &after), 0);
  EXPECT_EQ(before.st_ino, after.st_ino);
  EXPECT_EQ(before.st_size, after.st_size);
  EXPECT_EQ(before.st_mtim.tv_sec, after.st_mtim.tv_sec);
  EXPECT_EQ(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
}

TEST_F(KeptList, AChangeCostsItsOwnBytes) {
  std::vector<Object> many;
  many.reserve(500);
  for (int i = 0; i < 500; ++i) many.push_back(object("o" + std::to_string(i), 1, "x"));
  keep(many);
  const std::size_t list = text().size();
  keep(many, {std::vector<WatchEvent>{{Type::Modified, object("o7", 6, "y")}}});
  EXPECT_GT(text().size(), list);
  EXPECT_LT(text().size(), list + 300);
}

TEST_F(KeptList, IsForItsOwnerAlone) {
  keep({object("a", 1, "x")});
  struct stat now {};
  ASSERT_EQ(stat(path_.c_str(), &now), 0);
  EXPECT_EQ(now.st_mode & 0777U, 0600U);
  ASSERT_EQ(stat((dir_ + "/kept").c_str(), &now), 0);
  EXPECT_EQ(now.st_mode & 0777U, 0700U);
}

TEST_F(KeptList, ADamagedListIsIgnoredAndReplaced) {
  keep({object("a", 1, "x"), object("b", 2, "y")});
  damage(text().size() / 2);
  Program run(path_);
  expect_nothing(run);
  run.client.will_list(ObjectList{{object("b", 2, "y")}, 5});
  EXPECT_TRUE(run.hears("b:->y synced "));
  run->stop();
  EXPECT_THAT(kept(), ElementsAre("b=y"));
}

TEST_F(KeptList, OneThatBreaksOffIsIgnored) {
  keep({object("a", 1, "x"), object("b", 2, "y")});
  const std::string whole = text();
  for (std::size_t size = 0; size < whole.size(); size += 7) {
    ASSERT_TRUE(write_file_atomically(path_, whole.substr(0, size), 0600));
    Program run(path_);
    expect_nothing(run);
  }
}

TEST_F(KeptList, ADamagedEndLeavesTheStateBefore) {
  keep({object("a", 1, "x")});
  const std::size_t list = text().size();
  keep({object("a", 1, "x")}, {std::vector<WatchEvent>{{Type::Modified, object("a", 6, "y")}},
                               std::vector<WatchEvent>{{Type::Modified, object("a", 7, "z")}}});
  const std::string whole = text();
  const std::size_t last = whole.rfind('\n', whole.size() - 2) + 1;
  ASSERT_GT(last, list);
  for (const std::size_t size : {last + 1, whole.size() - 1}) {
    ASSERT_TRUE(write_file_atomically(path_, whole.substr(0, size), 0600));
    EXPECT_THAT(kept(), ElementsAre("a=y"));
    EXPECT_EQ(text(), whole.substr(0, last)) << "what follows would be unreadable";
  }
  ASSERT_TRUE(write_file_atomically(path_, whole, 0600));
  damage(list + 20);
  EXPECT_THAT(kept(), ElementsAre("a=x"));
}

TEST_F(KeptList, IsOfOneKindAndSelection) {
  keep({object("a", 1, "x")});
  Program selected(path_, resources::kConfigMaps, {.field_selector = "metadata.name=a"});
  expect_nothing(selected);
  Program kind(path_, resources::kServices);
  expect_nothing(kind);
}

TEST_F(KeptList, SecretsAreNeverKept) {
  Program run(path_, resources::kSecrets);
  run.client.will_list(ObjectList{{object("a", 1, "x")}, 5});
  run.complete();
  EXPECT_EQ(run.heard(), "a:->x synced ");
  EXPECT_FALSE(std::filesystem::exists(dir_ + "/kept"));
}

TEST_F(KeptList, ChangesDoNotPileUp) {
  const std::string large(10'000, 'v');
  ScriptedClient::Watch script;
  Revision revision = 5;
  for (int i = 0; i < 300; ++i)
    script.push_back(std::vector<WatchEvent>{
        {Type::Modified, object("a", ++revision, large + std::to_string(i))}});
  script.push_back(std::vector<WatchEvent>{{Type::Deleted, object("b", ++revision)}});
  keep({object("a", 1, "x"), object("b", 2, "y")}, std::move(script));
  EXPECT_LT(text().size(), 400'000U);
  EXPECT_THAT(kept(), ElementsAre("a=" + large + "299"));
}

TEST_F(KeptList, TooMuchIsNotKept) {
  keep({object("a", 1, "x")});
  const std::string large(1'000'000, 'v');
  std::vector<Object> many;
  many.reserve(18);
  for (int i = 0; i < 18; ++i) many.push_back(object("o" + std::to_string(i), 6, large));
  Program run(path_);
  run.client.will_list(ObjectList{many, 5});
  run.client.will_watch({std::vector<WatchEvent>{{Type::Modified, object("o0", 7, "small")}}});
  run.complete();
  EXPECT_EQ(run.state().size(), 18U);
  EXPECT_TRUE(std::filesystem::is_empty(dir_ + "/kept"));
}

TEST_F(KeptList, WhatCannotBeWrittenDoesNoHarm) {
  ASSERT_TRUE(write_file_atomically(dir_ + "/kept", "in the way", 0600));
  Program run(path_);
  run.client.will_list(ObjectList{{object("a", 1, "x")}, 5});
  run.client.will_watch({std::vector<WatchEvent>{{Type::Modified, object("a", 6, "y")}}});
  run.complete();
  EXPECT_EQ(run.heard(), "a:->x synced a:x>y ");
  // Once it can, the next list is kept.
  std::filesystem::remove(dir_ + "/kept");
  keep({object("a", 6, "y")});
  EXPECT_THAT(kept(), ElementsAre("a=y"));
}

}  // namespace
}  // namespace coracle
