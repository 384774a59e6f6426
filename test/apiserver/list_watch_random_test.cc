// One writer, and readers that list in pages and watch from where the list was: what they see must
// be what was written, revision by revision.
#include <atomic>
#include <random>
#include <semaphore>
#include <thread>

#include "requests_fixture.h"

namespace coracle {
namespace {

using resources::kConfigMaps;

constexpr int kSessions = 40;
constexpr int kWritesPerPage = 12;    // at most, while one page is read
constexpr int kWritesPerSession = 8;  // at least

// A name's group from a revision on; "" when it is not there.
struct Change {
  Revision revision;
  std::string name, group;
};
struct Item {
  std::string group;
  Revision revision;
};
using State = std::map<std::string, Item>;

struct Selector {
  std::string query;
  bool (*matches)(const std::string& name, const std::string& group);
};
const Selector kSelectors[] = {
    {"", [](const std::string&, const std::string& group) { return !group.empty(); }},
    {"&labelSelector=group%3Done",
     [](const std::string&, const std::string& group) { return group == "one"; }},
    {"&labelSelector=group%20notin%20(one)",
     [](const std::string&, const std::string& group) { return !group.empty() && group != "one"; }},
    {"&fieldSelector=metadata.name!%3Dn1&labelSelector=group%3Dtwo",
     [](const std::string& name, const std::string& group) {
       return name != "n1" && group == "two";
     }},
};

// A list in pages and the watch that goes on from it.
struct Session {
  const Selector* selector = nullptr;
  Revision revision = 0;
  std::map<std::string, Revision> items;
  Response watch;
  std::vector<std::string> events;  // "ADDED n1 17"
};

class RandomTest : public RequestsFixture {
 protected:
  void write_one() {
    const std::string name = "n" + std::to_string(pick(14));
    const std::string group = pick(2) == 0 ? "one" : "two";
    const std::string old = groups_[name];
    std::string now = group;
    Result<Json> written = Json();
    if (old.empty()) {
      Json object = config_map(name);
      object["metadata"]["labels"] = {{"group", group}};
      written = create(kConfigMaps, object);
    } else if (pick(3) == 0) {
      now = "";
      const auto removed = remove(kConfigMaps, name);
      ASSERT_TRUE(removed);
      written = removed->object;
    } else {
      written = patch(kConfigMaps, name,
                      {{"metadata", {{"labels", {{"group", group}}}}},
                       {"data", {{"count", std::to_string(log_.size())}}}});
    }
    ASSERT_TRUE(written) << written.error().message;
    groups_[name] = now;
    log_.push_back({std::stoll(json_string(*written, {"metadata", "resourceVersion"})), name, now});
  }
  int pick(int n) { return std::uniform_int_distribution<int>(0, n - 1)(random_); }

  Session begin(const Selector& selector) {
    Session session;
    session.selector = &selector;
    std::string token;
    do {
      credits_.release(kWritesPerPage);
      const Response page =
          get(path() + "?limit=3" + selector.query + (token.empty() ? "" : "&continue=" + token));
      EXPECT_EQ(page.code, 200) << page.body;
      const Revision revision = std::stoll("0" + page.revision());
      EXPECT_TRUE(token.empty() || revision == session.revision);
      session.revision = revision;
      const Json document = page.json();
      for (const Json& item : document["items"])
        session.items[json_string(item, {"metadata", "name"})] =
            std::stoll(json_string(item, {"metadata", "resourceVersion"}));
      token = page.next();
    } while (!token.empty());
    session.watch = get(path() + "?watch=1" + selector.query +
                        "&resourceVersion=" + std::to_string(session.revision));
    return session;
  }
  void follow(Session& session) {
    for (const Json& event : read(session.watch).events)
      session.events.push_back(json_string(event, {"type"}) + " " +
                               json_string(event, {"object", "metadata", "name"}) + " " +
                               json_string(event, {"object", "metadata", "resourceVersion"}));
  }
  void await_writes(int count) {
    for (int now = written_; now < count; now = written_) written_.wait(now);
  }
  std::string path() { return flip_++ % 2 == 0 ? "/api/v1/configmaps" : kMaps; }

  // What the log says the session should have seen.
  void check(const Session& session) const {
    State state;
    std::map<std::string, Revision> items;
    std::vector<std::string> events;
    for (const Change& change : log_) {
      const auto before = state.find(change.name);
      const std::string old = before == state.end() ? "" : before->second.group;
      state[change.name] = {change.group, change.revision};
      const bool was = session.selector->matches(change.name, old);
      const bool is = session.selector->matches(change.name, change.group);
      if (change.revision <= session.revision) {
        if (is) items[change.name] = change.revision;
        if (!is) items.erase(change.name);
      } else if (was || is) {
        const std::string type = !was ? "ADDED " : is ? "MODIFIED " : "DELETED ";
        events.push_back(type + change.name + " " + std::to_string(change.revision));
      }
    }
    EXPECT_EQ(session.items, items) << session.selector->query << " at " << session.revision;
    EXPECT_EQ(session.events, events) << session.selector->query << " from " << session.revision;
  }

  static constexpr const char* kMaps = "/api/v1/namespaces/default/configmaps";
  // The writer's.
  std::mt19937 random_{20260102};
  std::map<std::string, std::string> groups_;
  std::vector<Change> log_;
  // The reader's.
  int flip_ = 0;
  std::counting_semaphore<> credits_{50};
  std::atomic<int> written_ = 0;
};

TEST_F(RandomTest, ListAndWatchTellExactlyWhatWasWritten) {
  std::vector<Session> sessions;
  {
    std::atomic<bool> done = false;
    std::jthread writer([&] {
      for (;;) {
        credits_.acquire();
        if (done) return;
        write_one();
        written_ = HasFatalFailure() ? kSessions * kWritesPerSession : written_ + 1;
        written_.notify_one();
      }
    });
    for (int i = 0; i < kSessions; ++i) {
      sessions.push_back(begin(kSelectors[static_cast<std::size_t>(i) % std::size(kSelectors)]));
      for (Session& session : sessions) follow(session);
      await_writes((i + 1) * kWritesPerSession);
    }
    done = true;
    credits_.release();
  }
  EXPECT_GE(log_.size(), std::size_t{kSessions * kWritesPerSession});
  for (Session& session : sessions) {
    follow(session);
    check(session);
  }
}

}  // namespace
}  // namespace coracle
