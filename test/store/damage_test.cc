// Databases that were damaged while nobody looked: the store starts, says so when anything is
// missing, never goes back in revisions, and keeps what it found.
#include <coracle/stores.h>
#include <gtest/gtest.h>
#include <sqlite3.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <set>
#include <sstream>
#include <thread>

#include "store/recovery.h"
#include "store/snapshots.h"
#include "store/temp_dir.h"

namespace coracle {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;
using Values = std::map<std::string, std::string>;

std::string read_all(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}
void write_all(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

Values values_of(const Store& store) {
  Values values;
  const auto listed = *store.list({});
  for (const auto& entry : listed.entries) values[entry->key] = entry->value;
  return values;
}

// A data directory with a database, and a snapshot of an earlier state of it.
class Damage : public testing::Test {
 protected:
  Damage() : dir("/dev/shm"), path(dir.path() + "/db") {}

  std::unique_ptr<Store> open(std::chrono::milliseconds interval = 0ms) {
    story.clear();
    auto store = open_sqlite_store(
        {path, nullptr, [this](const StoreNotice& notice) { story = notice.message; }, interval});
    EXPECT_TRUE(store) << store.error().message;
    if (!store) return nullptr;
    EXPECT_GT((*store)->revision(), newest) << "revisions went back";
    newest = (*store)->revision();
    return std::move(*store);
  }
  void write(Store& store, const std::string& prefix, int count) {
    for (int i = 0; i < count; ++i)
      ASSERT_TRUE(store.create(prefix + std::to_string(i), std::string(200, 'v'), {}));
    newest = store.revision();
  }
  void fill() {
    auto store = open();
    write(*store, "/early/", 60);
    early = values_of(*store);
    ASSERT_TRUE(take_snapshot(path, store->revision()));
    write(*store, "/late/", 60);
    all = values_of(*store);
  }
  std::vector<std::string> aside() const {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(dir.path()))
      if (const std::string name = entry.path().filename();
          name.rfind("db.damaged-", 0) == 0 && name.find("-", 11) == std::string::npos)
        found.push_back(entry.path());
    return found;
  }
  // The store must start with one of the two states, and with the older one only aloud.
  void expect_recovered(const std::string& damaged, const char* what) {
    SCOPED_TRACE(what);
    auto store = open();
    ASSERT_TRUE(store);
    EXPECT_EQ(values_of(*store), early);
    EXPECT_NE(story.find("damaged"), std::string::npos) << story;
    EXPECT_NE(story.find("snapshot of"), std::string::npos) << story;
    ASSERT_EQ(aside().size(), 1U);
    EXPECT_EQ(read_all(aside()[0]), damaged) << "kept as it was found";
    store.reset();
    store = open();  // and it is no loop
    EXPECT_EQ(story, "");
    EXPECT_EQ(values_of(*store), early);
    EXPECT_TRUE(store->create("/after", "1", {}));
  }

  TempDir dir;
  std::string path, story;
  Revision newest = 0;
  Values early, all;
};

TEST_F(Damage, OneByteAnywhereIsHarmlessOrSaid) {
  fill();
  const std::string sound = read_all(path);
  const std::string lock = read_all(path + ".lock");
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  int noticed = 0;
  for (int round = 0; round < 200 && !HasFailure(); ++round) {
    std::string bytes = sound;
    const std::size_t at = random() % bytes.size();
    SCOPED_TRACE("byte " + std::to_string(at));
    bytes[at] = static_cast<char>(bytes[at] ^ (1 + random() % 255));
    fs::remove(path + "-wal");
    write_all(path, bytes);
    write_all(path + "-wal", "");
    const auto store = open();
    ASSERT_TRUE(store);
    if (story.empty()) {
      EXPECT_EQ(values_of(*store), all);
    } else {
      EXPECT_EQ(values_of(*store), early) << story;
      ++noticed;
    }
  }
  EXPECT_GT(noticed, 50);
  EXPECT_LE(aside().size(), kKeptAside);
}

TEST_F(Damage, TwoHundredBytes) {
  fill();
  std::string bytes = read_all(path);
  std::mt19937 random(std::random_device{}());
  for (int i = 0; i < 200; ++i) bytes[random() % bytes.size()] ^= static_cast<char>(1 + i % 127);
  write_all(path, bytes);
  expect_recovered(bytes, "200 bytes");
}

TEST_F(Damage, Truncated) {
  fill();
  const std::string bytes = read_all(path).substr(0, 12000);
  write_all(path, bytes);
  expect_recovered(bytes, "truncated");
}

TEST_F(Damage, ZeroLength) {
  fill();
  write_all(path, "");
  expect_recovered("", "zero length");
}

TEST_F(Damage, Garbage) {
  fill();
  write_all(path, std::string(8192, 'x'));
  expect_recovered(std::string(8192, 'x'), "garbage");
}

TEST_F(Damage, OtherVersion) {
  fill();
  sqlite3* raw = nullptr;
  ASSERT_EQ(sqlite3_open(path.c_str(), &raw), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(raw, "PRAGMA user_version=99", nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(raw);
  write_all(path + "-wal", "");
  expect_recovered(read_all(path), "version 99");
  EXPECT_TRUE(story.empty());
}

TEST_F(Damage, Missing) {
  fill();
  fs::remove(path);
  auto store = open();
  EXPECT_EQ(values_of(*store), early);
  EXPECT_NE(story.find("missing"), std::string::npos) << story;
}

// The files as a crash leaves them: copied while the store is open.
TEST_F(Damage, TheLogIsRemovedAfterACrash) {
  fill();
  {
    auto store = open();
    write(*store, "/unsaved/", 10);
    fs::copy(path, path + ".crash");
  }
  fs::remove(path + "-wal");
  fs::rename(path + ".crash", path);
  auto store = open();
  EXPECT_NE(story.find("log is missing"), std::string::npos) << story;
  EXPECT_EQ(values_of(*store), all) << "the database is newer than the snapshot";
  EXPECT_EQ(aside().size(), 1U);
}

TEST_F(Damage, TheLogIsDamagedWhereSqliteWouldTakeItForItsEnd) {
  fill();
  {
    auto store = open();
    write(*store, "/unsaved/", 10);
    fs::copy(path, path + ".crash");
    fs::copy(path + "-wal", path + ".crash-wal");
  }
  fs::rename(path + ".crash", path);
  std::string log = read_all(path + ".crash-wal");
  log[32 + 3 * 4120 + 1000] ^= 1;  // in the fourth frame
  write_all(path + "-wal", log);
  fs::remove(path + ".crash-wal");
  auto store = open();
  EXPECT_NE(story.find("log is damaged"), std::string::npos) << story;
  const Values now = values_of(*store);
  EXPECT_LT(now.size(), all.size() + 10);
  EXPECT_GE(now.size(), all.size());
}

TEST_F(Damage, ADamagedSnapshotIsPassedOver) {
  fill();
  {
    auto store = open();
    ASSERT_TRUE(take_snapshot(path, store->revision()));
  }
  const auto taken = snapshots_of(path);
  ASSERT_EQ(taken.size(), 2U);
  write_all(snapshot_directory(path) + "/" + taken[0].to_string(), std::string(4096, 'x'));
  write_all(path, "");
  auto store = open();
  EXPECT_EQ(values_of(*store), early);
}

TEST_F(Damage, WithoutASnapshotItStartsEmptyAndAloud) {
  fill();
  fs::remove_all(snapshot_directory(path));
  const std::string bytes(5000, 'x');
  write_all(path, bytes);
  {
    auto store = open();
    EXPECT_TRUE(values_of(*store).empty());
    EXPECT_NE(story.find("starting empty"), std::string::npos) << story;
    ASSERT_EQ(aside().size(), 1U);
    EXPECT_EQ(read_all(aside()[0]), bytes);
    write(*store, "/new/", 1);
  }
  auto store = open();
  EXPECT_EQ(story, "");
  EXPECT_EQ(values_of(*store).size(), 1U);
}

TEST_F(Damage, AnInterruptedExchangeIsCompleted) {
  fill();
  const auto taken = snapshots_of(path);
  fs::copy(snapshot_directory(path) + "/" + taken[0].to_string(), path + ".restoring-damaged-T");
  fs::rename(path + "-wal", path + ".damaged-T-wal");  // the crash came here
  auto store = open();
  EXPECT_EQ(values_of(*store), early);
  EXPECT_NE(story.find("interrupted"), std::string::npos) << story;
  EXPECT_TRUE(fs::exists(path + ".damaged-T"));
}

TEST_F(Damage, FormatOneIsBroughtToThisOne) {
  sqlite3* raw = nullptr;
  ASSERT_EQ(sqlite3_open(path.c_str(), &raw), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(raw,
                         "PRAGMA journal_mode=WAL;"
                         "CREATE TABLE objects(key TEXT PRIMARY KEY NOT NULL, create_revision "
                         "INTEGER NOT NULL, mod_revision INTEGER NOT NULL, value BLOB NOT NULL) "
                         "WITHOUT ROWID;"
                         "CREATE TABLE revisions(id INTEGER PRIMARY KEY CHECK(id = 1), reserved "
                         "INTEGER NOT NULL);"
                         "INSERT INTO revisions VALUES(1, 4294967297);"
                         "INSERT INTO objects VALUES('/a', 5, 6, x'31');"
                         "PRAGMA user_version=1",
                         nullptr, nullptr, nullptr),
            SQLITE_OK);
  sqlite3_close(raw);
  for (int start = 0; start < 2; ++start) {
    auto store = open();
    EXPECT_EQ(story, "");
    EXPECT_EQ(values_of(*store), (Values{{"/a", "1"}}));
    EXPECT_GT(store->revision(), 4294967296);
  }
}

TEST_F(Damage, BackupIsLiveAndRestoreIsChecked) {
  const std::string file = dir.path() + "/backup";
  EXPECT_EQ(backup_database(path, file, Overwrite::No).error().code, Code::NotFound);
  fill();
  auto store = open();
  const auto saved = backup_database(path, file, Overwrite::No);
  ASSERT_TRUE(saved) << saved.error().message;
  EXPECT_EQ(saved->objects, all.size());
  EXPECT_EQ(backup_database(path, file, Overwrite::No).error().code, Code::AlreadyExists);
  EXPECT_TRUE(backup_database(path, file, Overwrite::Yes));
  EXPECT_EQ(restore_database(path, file).error().code, Code::Conflict) << "a store is open";
  write(*store, "/more/", 5);
  store.reset();
  write_all(dir.path() + "/bad", read_all(file).substr(0, 9000));
  const std::string before = read_all(path);
  EXPECT_FALSE(restore_database(path, dir.path() + "/bad"));
  EXPECT_EQ(read_all(path), before);
  const auto restored = restore_database(path, file);
  ASSERT_TRUE(restored) << restored.error().message;
  EXPECT_EQ(read_all(restored->aside), before);
  store = open();
  EXPECT_EQ(story, "");
  EXPECT_EQ(values_of(*store), all);
  const std::string elsewhere = dir.path() + "/new/place/db";
  ASSERT_TRUE(restore_database(elsewhere, file));
  EXPECT_EQ(values_of(**open_sqlite_store({elsewhere, nullptr})), all);
}

std::size_t wait_for_snapshots(const std::string& path, std::size_t count) {
  const auto deadline = std::chrono::steady_clock::now() + 20s;
  while (snapshots_of(path).size() < count && std::chrono::steady_clock::now() < deadline)
    std::this_thread::yield();
  return snapshots_of(path).size();
}

TEST_F(Damage, SnapshotsAreTakenAtStartAndOnlyAfterChanges) {
  fill();
  ASSERT_EQ(snapshots_of(path).size(), 1U);
  auto store = open(1h);  // changed since the one that fill() took
  EXPECT_EQ(wait_for_snapshots(path, 2), 2U);
  store.reset();
  for (int start = 0; start < 3; ++start) (void)open(1h);
  EXPECT_EQ(snapshots_of(path).size(), 2U) << "nothing changed";
  store = open(1ms);
  ASSERT_TRUE(store->create("/lease", "1", {Durability::Ephemeral}));
  ASSERT_TRUE(store->create("/durable", "1", {}));
  EXPECT_EQ(wait_for_snapshots(path, 3), 3U);
  store.reset();
  EXPECT_EQ(snapshots_of(path).size(), 3U);
}

TEST(Snapshots, KeepTheNewestAndOnePerDay) {
  std::vector<SnapshotName> all;
  for (int day = 10; day < 30; ++day)
    for (int hour = 10; hour < 13; ++hour)
      all.push_back({day * 100 + hour, 1,
                     "202611" + std::to_string(day) + "T" + std::to_string(hour) + "0000Z"});
  std::set<Revision> kept;
  for (const auto& name : all) kept.insert(name.revision);
  for (const auto& name : snapshots_to_drop(all)) kept.erase(name.revision);
  EXPECT_EQ(kept, (std::set<Revision>{2912, 2911, 2910, 2812, 2712, 2612, 2512, 2412, 2312}));
  EXPECT_TRUE(snapshots_to_drop({}).empty());
}

TEST(Snapshots, NamesSurviveAndOthersAreNone) {
  const SnapshotName name{Revision{1} << 50, 0xfedcba9876543210, "20261124T010203Z"};
  const auto parsed = SnapshotName::parse(name.to_string());
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->digest, name.digest);
  EXPECT_EQ(parsed->revision, name.revision);
  for (const char* other : {"", "unfinished", "1-2-3.db", "x"})
    EXPECT_FALSE(SnapshotName::parse(other)) << other;
}

}  // namespace
}  // namespace coracle
