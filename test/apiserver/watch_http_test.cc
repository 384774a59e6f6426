// Watches over HTTPS.
#include <gmock/gmock.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "support/api_fixture.h"

namespace coracle {
namespace {

constexpr const char* kMaps = "/api/v1/namespaces/default/configmaps";
constexpr auto kPatience = std::chrono::seconds(10);

class WatchTest : public ClusterFixture {
 protected:
  WatchTest() {
    tune_ = [](ApiServerOptions& options) {
      options.bookmark_interval = std::chrono::milliseconds(200);
    };
  }

  // A watch on its own thread; next() waits for an event.
  class Stream {
   public:
    Stream(const WatchTest& test, const std::string& path, std::vector<std::string> headers = {}) {
      thread_ = std::jthread([this, &test, path, headers](const std::stop_token& stop) {
        CallOptions options;
        options.headers = headers;
        options.stop = stop;
        options.on_data = [&](std::string_view bytes) {
          feed(bytes);
          return true;
        };
        const Reply reply = test.call("GET", path, "", options);
        const std::scoped_lock lock(mutex_);
        code_ = reply.code;
        ended_ = true;
        changed_.notify_all();
      });
    }
    ~Stream() { thread_.request_stop(); }
    Json next() {
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, kPatience, [&] { return !events_.empty() || ended_; });
      if (events_.empty()) return {{"type", "NONE"}};
      Json event = events_.front();
      events_.erase(events_.begin());
      return event;
    }
    bool wait_end() {
      std::unique_lock lock(mutex_);
      return changed_.wait_for(lock, kPatience, [&] { return ended_; });
    }
    long code() {
      wait_end();
      return code_;
    }

   private:
    void feed(std::string_view bytes) {
      const std::scoped_lock lock(mutex_);
      text_ += bytes;
      for (std::size_t end = text_.find('\n'); end != std::string::npos; end = text_.find('\n')) {
        events_.push_back(Json::parse(text_.substr(0, end), nullptr, false));
        text_.erase(0, end + 1);
      }
      changed_.notify_all();
    }
    std::mutex mutex_;
    std::condition_variable changed_;
    std::string text_;
    std::vector<Json> events_;
    bool ended_ = false;
    long code_ = 0;
    std::jthread thread_;
  };

  static std::string summary(const Json& event) {
    return json_string(event, {"type"}) + " " + json_string(event, {"object", "metadata", "name"});
  }
  std::string revision() const { return std::to_string(registry_->revision()); }
  std::string map(const std::string& name) const { return std::string(kMaps) + "/" + name; }
  Reply merge(const std::string& path, const std::string& body) {
    CallOptions options;
    options.headers = {"Content-Type: application/merge-patch+json"};
    return call("PATCH", path, body, options);
  }
};

TEST_F(WatchTest, EventsInOrder) {
  post(kMaps, config_map("old"));
  Stream stream(*this, std::string(kMaps) + "?watch=1&resourceVersion=" + revision());
  post(kMaps, config_map("a"));
  merge(map("a"), R"({"data":{"k":"w"}})");
  call("DELETE", map("a"));
  EXPECT_EQ(summary(stream.next()), "ADDED a");
  EXPECT_EQ(summary(stream.next()), "MODIFIED a");
  EXPECT_EQ(summary(stream.next()), "DELETED a");
}

TEST_F(WatchTest, WithoutARevisionItBeginsWithWhatThereIs) {
  post(kMaps, config_map("a"));
  Stream stream(*this, std::string(kMaps) + "?watch=true");
  EXPECT_EQ(summary(stream.next()), "ADDED a");
  post(kMaps, config_map("b"));
  EXPECT_EQ(summary(stream.next()), "ADDED b");
}

TEST_F(WatchTest, HeadersComeAtOnceAndTheTimeoutEndsItCleanly) {
  Stream stream(*this,
                std::string(kMaps) + "?watch=1&timeoutSeconds=1&resourceVersion=" + revision());
  EXPECT_TRUE(stream.wait_end());
  EXPECT_EQ(stream.code(), 200);
}

TEST_F(WatchTest, SelectorsTurnChangesIntoAppearAndVanish) {
  Stream stream(*this,
                std::string(kMaps) + "?watch=1&labelSelector=on&resourceVersion=" + revision());
  post(kMaps, config_map("a"));
  merge(map("a"), R"({"metadata":{"labels":{"on":"1"}}})");
  merge(map("a"), R"({"metadata":{"labels":{"on":null}}})");
  EXPECT_EQ(summary(stream.next()), "ADDED a");
  EXPECT_EQ(summary(stream.next()), "DELETED a");
}

TEST_F(WatchTest, OneObjectByNameAndByPath) {
  const std::string from = "resourceVersion=" + revision();
  Stream field(*this, std::string(kMaps) + "?watch=1&fieldSelector=metadata.name%3Db&" + from);
  Stream path(*this, map("b") + "?watch=1&" + from);
  Stream legacy(*this, "/api/v1/watch/namespaces/default/configmaps/b?" + from);
  post(kMaps, config_map("a"));
  post(kMaps, config_map("b"));
  EXPECT_EQ(summary(field.next()), "ADDED b");
  EXPECT_EQ(summary(path.next()), "ADDED b");
  EXPECT_EQ(summary(legacy.next()), "ADDED b");
}

TEST_F(WatchTest, BookmarksOnlyWhenAllowed) {
  Stream stream(*this, std::string(kMaps) +
                           "?watch=1&allowWatchBookmarks=true&resourceVersion=" + revision());
  const Json event = stream.next();
  EXPECT_EQ(json_string(event, {"type"}), "BOOKMARK");
  EXPECT_EQ(json_string(event, {"object", "kind"}), "ConfigMap");
  EXPECT_EQ(json_string(event, {"object", "metadata", "resourceVersion"}), revision());
}

TEST_F(WatchTest, Tables) {
  Stream stream(*this, std::string(kMaps) + "?watch=1&resourceVersion=" + revision(),
                {"Accept: application/json;as=Table;v=v1;g=meta.k8s.io,application/json"});
  post(kMaps, config_map("a"));
  post(kMaps, config_map("b"));
  const Json first = stream.next();
  EXPECT_EQ(json_string(first, {"object", "kind"}), "Table");
  EXPECT_TRUE(first["object"]["columnDefinitions"].is_array());
  EXPECT_EQ(first["object"]["rows"][0]["cells"][0], "a");
  EXPECT_TRUE(stream.next()["object"]["columnDefinitions"].is_null());
}

TEST_F(WatchTest, RevisionsOutOfReach) {
  EXPECT_EQ(get(std::string(kMaps) + "?watch=1&resourceVersion=99999999999").code, 504);
  EXPECT_EQ(get(std::string(kMaps) + "?watch=1&sendInitialEvents=true").code, 422);
}

TEST_F(WatchTest, TheServersStopEndsWatches) {
  Stream stream(*this, std::string(kMaps) + "?watch=1");
  Stream idle(*this, std::string(kMaps) + "?watch=1&resourceVersion=" + revision());
  post(kMaps, config_map("a"));
  EXPECT_EQ(summary(stream.next()), "ADDED a");
  EXPECT_EQ(summary(idle.next()), "ADDED a");
  const auto start = std::chrono::steady_clock::now();
  server_->stop();
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
  EXPECT_TRUE(stream.wait_end());
  EXPECT_TRUE(idle.wait_end());
}

class WatchBudgetTest : public WatchTest {
 protected:
  WatchBudgetTest() {
    tune_ = [](ApiServerOptions& options) {
      options.threads = 8;
      options.max_watches = 4;
      options.reserved_watches = 0;
    };
  }
};

TEST_F(WatchBudgetTest, TooManyWatchesAreToldToWaitAndShortRequestsGoOn) {
  const std::string path = std::string(kMaps) + "?watch=1";
  post(kMaps, config_map("a"));
  {
    std::vector<std::unique_ptr<Stream>> streams;
    for (int i = 0; i < 4; ++i) {
      streams.push_back(std::make_unique<Stream>(*this, path));
      EXPECT_EQ(summary(streams.back()->next()), "ADDED a");
    }
    const Reply refused = get(path);
    EXPECT_EQ(refused.code, 429);
    EXPECT_EQ(refused.header("retry-after"), "1");
    EXPECT_EQ(refused.reason(), "TooManyRequests");
    EXPECT_EQ(get(kMaps).code, 200);
    server_->stop();  // lets the streams' clients end
  }
}

TEST_F(WatchBudgetTest, AClientThatWentAwayFreesItsPlace) {
  post(kMaps, config_map("a"));
  for (int i = 0; i < 4; ++i) {
    CallOptions leave;
    leave.on_data = [](std::string_view) { return false; };
    call("GET", std::string(kMaps) + "?watch=1", "", leave);
  }
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  long code = 429;
  while (code == 429 && std::chrono::steady_clock::now() < deadline) {
    code = get(std::string(kMaps) + "?watch=1&timeoutSeconds=1").code;
    if (code == 429) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  EXPECT_EQ(code, 200);
}

}  // namespace
}  // namespace coracle
