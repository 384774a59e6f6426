// Both ends of tunnels, over socket pairs.
#include <coracle/tunnel.h>
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>

#include "apiserver/tunnel/tunnel_hub.h"
#include "support/eventually.h"

namespace coracle {
namespace {

using test::eventually;
using Progress = TunnelStream::Progress;

std::chrono::steady_clock::time_point soon() {
  return std::chrono::steady_clock::now() + std::chrono::seconds(60);
}

// What a node has to say; the test goes on while it says it.
struct Script {
  std::mutex mutex;
  std::string text;      // not yet said
  bool ends = false;     // after that
  bool endless = false;  // says 'z' for ever
  std::function<void()> wake;
  std::atomic<std::size_t> said{0};
  std::atomic<bool> gone{false};

  void say(const std::string& more, bool last = false) {
    const std::lock_guard lock(mutex);
    text += more;
    ends = last;
    if (wake) wake();
  }
};

class ScriptSource final : public TunnelSource {
 public:
  explicit ScriptSource(std::shared_ptr<Script> script) : script_(std::move(script)) {}
  ScriptSource(const ScriptSource&) = delete;
  ScriptSource& operator=(const ScriptSource&) = delete;
  ~ScriptSource() override {
    const std::lock_guard lock(script_->mutex);
    script_->wake = nullptr;
    script_->gone = true;
  }
  void start(std::function<void()> wake) override {
    const std::lock_guard lock(script_->mutex);
    script_->wake = std::move(wake);
  }
  State produce(std::string& out, std::size_t room) override {
    const std::lock_guard lock(script_->mutex);
    if (script_->endless) {
      out.append(room, 'z');
      script_->said += room;
      return State::More;
    }
    const std::size_t size = std::min(room, script_->text.size());
    out.append(script_->text, 0, size);
    script_->text.erase(0, size);
    script_->said += size;
    if (!script_->text.empty()) return State::More;
    return script_->ends ? State::End : State::Waiting;
  }

 private:
  const std::shared_ptr<Script> script_;
};

// A node whose answers are scripts, by path.
class Node {
 public:
  Node(TunnelHub& hub, const std::string& name) {
    TunnelEnd::Options options;
    options.connect = [&hub, name, this](const std::stop_token&) {
      ++connects;
      return hub.connect(name);
    };
    options.serve = [this](const TunnelRequest& request) -> Result<std::unique_ptr<TunnelSource>> {
      const std::lock_guard lock(mutex_);
      asked_ = request;
      const auto it = scripts_.find(request.path);
      if (it == scripts_.end()) return Error{Code::NotFound, "nothing at " + request.path};
      return std::unique_ptr<TunnelSource>(std::make_unique<ScriptSource>(it->second));
    };
    options.retry_min = std::chrono::milliseconds(1);
    end_ = std::move(*TunnelEnd::create(std::move(options)));
    end_->start();
  }
  std::shared_ptr<Script> script(const std::string& path) {
    const std::lock_guard lock(mutex_);
    auto& script = scripts_[path];
    if (!script) script = std::make_shared<Script>();
    return script;
  }
  TunnelRequest asked() {
    const std::lock_guard lock(mutex_);
    return asked_;
  }
  void stop() { end_->stop(); }
  std::atomic<int> connects{0};

 private:
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Script>> scripts_;
  TunnelRequest asked_;
  std::unique_ptr<TunnelEnd> end_;
};

// Reads a stream as its owner would.
class Reader {
 public:
  explicit Reader(std::unique_ptr<TunnelStream> stream) : stream_(std::move(stream)) {
    stream_->on_news([this] {
      const std::lock_guard lock(mutex_);
      news_ = true;
      changed_.notify_all();
    });
  }
  // Until so much has come, or the end.
  Progress read(std::size_t size) {
    for (;;) {
      const Progress progress = stream_->take(text, 64 * 1024);
      if (text.size() >= size || progress != Progress::Open) return progress;
      std::unique_lock lock(mutex_);
      if (!changed_.wait_for(lock, std::chrono::seconds(60), [this] { return news_; }))
        return progress;
      news_ = false;
    }
  }
  std::string text;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool news_ = false;
  std::unique_ptr<TunnelStream> stream_;
};

class TunnelTest : public testing::Test {
 protected:
  TunnelTest() { make({}); }
  void make(TunnelHub::Options options) {
    hub_.reset();
    auto hub = TunnelHub::create(std::move(options));
    EXPECT_TRUE(hub);
    hub_ = std::move(*hub);
  }
  std::unique_ptr<TunnelStream> open(const std::string& node, const std::string& path,
                                     const std::string& options = "") {
    auto stream = hub_->open(node, {path, options}, soon());
    EXPECT_TRUE(stream) << stream.error().message;
    const auto answered = (*stream)->wait_answer(soon());
    EXPECT_TRUE(answered) << answered.error().message;
    return std::move(*stream);
  }

  std::unique_ptr<TunnelHub> hub_;
};

TEST_F(TunnelTest, AsksAndIsAnswered) {
  Node node(*hub_, "n1");
  node.script("/a")->say("hello\n", true);
  Reader reader(open("n1", "/a", R"({"x":"y"})"));
  EXPECT_EQ(reader.read(1000), Progress::Ended);
  EXPECT_EQ(reader.text, "hello\n");
  EXPECT_EQ(node.asked().options, R"({"x":"y"})");
  EXPECT_TRUE(eventually([&] { return node.script("/a")->gone.load(); }));
}

TEST_F(TunnelTest, ErrorsComeThrough) {
  Node node(*hub_, "n1");
  auto stream = hub_->open("n1", {"/none", ""}, soon());
  ASSERT_TRUE(stream);
  const auto answer = (*stream)->wait_answer(soon());
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Code::NotFound);
  EXPECT_EQ(answer.error().message, "nothing at /none");
}

TEST_F(TunnelTest, ANodeThatIsNotConnectedIsNamed) {
  const auto stream = hub_->open("n9", {"/a", ""}, std::chrono::steady_clock::now());
  ASSERT_FALSE(stream);
  EXPECT_EQ(stream.error().code, Code::Unavailable);
  EXPECT_EQ(stream.error().message, "node \"n9\" is not connected to the server");
}

TEST_F(TunnelTest, WhatIsSaidLaterComesAtOnce) {
  Node node(*hub_, "n1");
  const auto script = node.script("/a");
  Reader reader(open("n1", "/a"));
  for (int i = 1; i <= 5; ++i) {
    script->say("line\n");
    EXPECT_EQ(reader.read(static_cast<std::size_t>(i) * 5), Progress::Open);
    EXPECT_EQ(reader.text.size(), static_cast<std::size_t>(i) * 5);
  }
  script->say("", true);
  EXPECT_EQ(reader.read(1000), Progress::Ended);
}

TEST_F(TunnelTest, AReaderThatIsGoneStopsTheNode) {
  Node node(*hub_, "n1");
  const auto script = node.script("/a");
  script->say("x");
  {
    Reader reader(open("n1", "/a"));
    reader.read(1);
  }
  EXPECT_TRUE(eventually([&] { return script->gone.load(); }));
}

TEST_F(TunnelTest, ASlowReaderStopsOnlyItsOwnStream) {
  Node node(*hub_, "n1");
  const auto endless = node.script("/endless");
  endless->endless = true;
  const auto slow = open("n1", "/endless");
  constexpr std::size_t kSize = std::size_t{8} << 20;
  node.script("/big")->say(std::string(kSize, 'b'), true);
  Reader fast(open("n1", "/big"));
  EXPECT_EQ(fast.read(kSize + 1), Progress::Ended);
  EXPECT_EQ(fast.text, std::string(kSize, 'b'));
  // A window, and what the node has made beyond it.
  EXPECT_LE(endless->said.load(), std::size_t{128} * 1024);
  std::string some;
  EXPECT_TRUE(eventually([&] {
    slow->take(some, 1000);
    return some.size() > 300'000;
  }));
}

TEST_F(TunnelTest, AHundredSlowReadersHoldUpNobody) {
  Node node(*hub_, "n1");
  node.script("/endless")->endless = true;
  std::vector<std::unique_ptr<TunnelStream>> slow;
  for (int i = 0; i < 150; ++i) slow.push_back(open("n1", "/endless"));
  EXPECT_TRUE(eventually([&] { return node.script("/endless")->said > 150U * 60'000; }));
  node.script("/a")->say("quick", true);
  for (int i = 0; i < 20; ++i) {
    const std::string path = "/a" + std::to_string(i);
    node.script(path)->say("quick", true);
    Reader reader(open("n1", path));
    EXPECT_EQ(reader.read(100), Progress::Ended);
    EXPECT_EQ(reader.text, "quick");
  }
  EXPECT_LE(node.script("/endless")->said.load(), 150U * 128 * 1024);
}

TEST_F(TunnelTest, ManyNodes) {
  std::vector<std::unique_ptr<Node>> nodes;
  for (int i = 0; i < 20; ++i) {
    nodes.push_back(std::make_unique<Node>(*hub_, "n" + std::to_string(i)));
    nodes.back()->script("/who")->say("n" + std::to_string(i), true);
  }
  for (int i = 0; i < 20; ++i) {
    Reader reader(open("n" + std::to_string(i), "/who"));
    reader.read(100);
    EXPECT_EQ(reader.text, "n" + std::to_string(i));
  }
  EXPECT_EQ(hub_->size(), 20U);
}

TEST_F(TunnelTest, ANewerConnectionOfANodeTakesThePlaceOfTheOlder) {
  auto first = std::make_unique<Node>(*hub_, "n1");
  first->script("/a")->say("first");
  Reader old(open("n1", "/a"));
  old.read(5);
  TunnelEnd::Options options;
  const auto lone = hub_->connect("n1");  // one that says nothing, as after a machine was cloned
  ASSERT_TRUE(lone);
  EXPECT_EQ(old.read(1000), Progress::Broken);
  // The first connects again, and gets its place back.
  EXPECT_TRUE(eventually([&] { return first->connects > 1; }));
  first->script("/b")->say("again", true);
  Reader again(open("n1", "/b"));
  EXPECT_EQ(again.read(100), Progress::Ended);
  EXPECT_EQ(hub_->size(), 1U);
}

TEST_F(TunnelTest, ANodeThatEndsBreaksItsStreams) {
  Node node(*hub_, "n1");
  node.script("/a")->say("x");
  Reader reader(open("n1", "/a"));
  reader.read(1);
  node.stop();
  EXPECT_EQ(reader.read(1000), Progress::Broken);
  EXPECT_EQ(reader.text, "x");
  EXPECT_TRUE(eventually([&] { return hub_->size() == 0; }));
}

TEST_F(TunnelTest, TheHubThatEndsBreaksStreamsAndNodesConnectToTheNext) {
  auto node = std::make_unique<Node>(*hub_, "n1");
  node->script("/a")->say("x");
  Reader reader(open("n1", "/a"));
  reader.read(1);
  hub_->stop();
  EXPECT_EQ(reader.read(1000), Progress::Broken);
  EXPECT_FALSE(hub_->open("n1", {"/a", ""}, soon()));
  EXPECT_TRUE(eventually([&] { return node->connects > 3; }));  // it does not give up
  node.reset();
}

TEST_F(TunnelTest, APeerThatHangsIsGivenUp) {
  TunnelHub::Options options;
  options.ping_after = std::chrono::milliseconds(50);
  options.ping_timeout = std::chrono::milliseconds(200);
  make(std::move(options));
  const auto silent = hub_->connect("n1");  // answers no ping
  ASSERT_TRUE(silent);
  Node node(*hub_, "n2");
  node.script("/a")->say("x");
  Reader reader(open("n2", "/a"));
  EXPECT_TRUE(eventually([&] { return hub_->size() == 2; }));
  EXPECT_TRUE(eventually([&] { return hub_->size() == 1; }));
  EXPECT_EQ(reader.read(1), Progress::Open);  // one that answers stays
}

}  // namespace
}  // namespace coracle
