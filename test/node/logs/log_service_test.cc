// A node's answers about logs: files as a supervisor writes them, a runtime in memory.
#include "node/logs/log_service.h"

#include <coracle/object.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

#include "node/runtime/container_log.h"
#include "support/fake_runtime.h"

namespace coracle::logs {
namespace {

using State = TunnelSource::State;

TEST(LogRequests, AreParsed) {
  const auto request = parse_log_request(
      R"({"uid":"u","container":"c","lastID":"i","follow":true,"tailLines":3,"sinceSeconds":4,
          "limitBytes":5,"stream":"stderr","since":"2026-01-02T03:04:05.000000Z"})");
  ASSERT_TRUE(request);
  EXPECT_EQ(request->uid, "u");
  EXPECT_EQ(request->last_id, "i");
  EXPECT_TRUE(request->follow);
  EXPECT_FALSE(request->previous);
  EXPECT_EQ(request->tail_lines, 3);
  EXPECT_EQ(request->since_seconds, 4);
  EXPECT_EQ(request->limit_bytes, 5);
  EXPECT_EQ(request->since, "2026-01-02T03:04:05.000000000Z");
  for (const char* bad : {"", "x", "[]", R"({"tailLines":-1})", R"({"tailLines":"x"})",
                          R"({"stream":"x"})", R"({"since":"x"})"})
    EXPECT_FALSE(parse_log_request(bad)) << bad;
}

class LogServiceTest : public testing::Test {
 protected:
  LogServiceTest() {
    char path[] = "/tmp/coracle-logs-XXXXXX";
    data_dir_ = mkdtemp(path);
    service_ = std::move(*LogService::create(runtime_, system_clock(), data_dir_));
    EXPECT_TRUE(runtime_.create_sandbox({.pod_uid = "u", .ns = "", .name = "", .hostname = ""}));
    std::filesystem::create_directories(directory());
  }
  ~LogServiceTest() override { std::filesystem::remove_all(data_dir_); }

  std::string directory() const { return data_dir_ + "/pods/u/containers/c"; }
  // Starts it for the n-th time, as the runtime would.
  void start(int n) {
    ContainerSpec spec;
    spec.name = "c";
    spec.restart_count = n;
    const auto started = runtime_.start_container("u", spec);
    ASSERT_TRUE(started);
    id_ = started->id;
    std::ofstream(directory() + "/" + std::to_string(n) + ".spec") << "x";
    record();
  }
  void end() {
    runtime_.end("u", "c", 1);
    record();
  }
  void record() const {
    std::ofstream(directory() + "/state.new") << "x";
    std::filesystem::rename(directory() + "/state.new", directory() + "/state");
  }
  void say(int n, const std::string& text) const {
    std::ofstream(directory() + "/" + std::to_string(n) + ".log", std::ios::app)
        << "2026-01-02T03:04:05.000000000Z stdout F " << text << "\n";
  }
  Result<std::unique_ptr<TunnelSource>> ask(Json options) {
    options["uid"] = "u";
    options["container"] = "c";
    auto source = service_->serve(options.dump());
    if (source) (*source)->start([this] { ++wakes_; });
    return source;
  }
  std::string all(const Json& options) {
    const auto source = ask(options);
    if (!source) return "error: " + source.error().message;
    std::string out;
    while ((*source)->produce(out, 1000) == State::More) {
    }
    return out;
  }
  // Until something has woken it, and it waits or ends again.
  State next(TunnelSource& source, std::string& out) {
    pollfd waits{service_->watch().fd(), POLLIN, 0};
    EXPECT_EQ(poll(&waits, 1, 60'000), 1);
    service_->watch().drain();
    State state = State::More;
    while (state == State::More) state = source.produce(out, 1000);
    return state;
  }

  std::string data_dir_, id_;
  test::FakeRuntime runtime_{system_clock()};
  std::unique_ptr<LogService> service_;
  int wakes_ = 0;
};

TEST_F(LogServiceTest, NotStartedIsNotFound) {
  EXPECT_TRUE(is_not_found(ask(Json::object()).error()));
  start(0);
  EXPECT_TRUE(is_not_found(ask({{"previous", true}}).error()));
  EXPECT_TRUE(is_not_found(service_->serve(R"({"uid":"v","container":"c"})").error()));
  EXPECT_EQ(service_->serve("").error().code, Code::BadRequest);
}

TEST_F(LogServiceTest, OnceAndPrevious) {
  start(0);
  EXPECT_EQ(all(Json::object()), "");
  say(0, "first");
  EXPECT_EQ(all(Json::object()), "first\n");
  end();
  EXPECT_EQ(all(Json::object()), "first\n");
  // It waits for its restart: the status names the start that ended as the last one.
  EXPECT_EQ(all({{"previous", true}, {"lastID", id_}}), "first\n");
  const std::string first = id_;
  start(1);
  say(1, "second");
  EXPECT_EQ(all({{"previous", true}, {"lastID", first}}), "first\n");
  EXPECT_EQ(all({{"previous", true}}), "first\n");
  EXPECT_EQ(all({{"follow", true}, {"previous", true}}), "first\n");
  EXPECT_EQ(all({{"tailLines", 1}}), "second\n");
}

TEST_F(LogServiceTest, FollowsToTheEndOfTheContainer) {
  start(0);
  const auto source = ask({{"follow", true}});
  ASSERT_TRUE(source);
  std::string out;
  EXPECT_EQ((*source)->produce(out, 1000), State::Waiting);
  say(0, "one");
  EXPECT_EQ(next(**source, out), State::Waiting);
  EXPECT_EQ(out, "one\n");
  say(0, "two");
  end();
  EXPECT_EQ(next(**source, out), State::End);
  EXPECT_EQ(out, "one\ntwo\n");
  EXPECT_GE(wakes_, 2);
}

TEST_F(LogServiceTest, FollowsNoFurtherThanItsStart) {
  start(0);
  const auto source = ask({{"follow", true}});
  ASSERT_TRUE(source);
  std::string out;
  say(0, "one");
  runtime_.end("u", "c", 1);
  start(1);
  say(1, "other");
  EXPECT_EQ(next(**source, out), State::End);
  EXPECT_EQ(out, "one\n");
}

TEST_F(LogServiceTest, EndsWithTheSandbox) {
  start(0);
  say(0, "one");
  const auto source = ask({{"follow", true}});
  ASSERT_TRUE(source);
  std::string out;
  while ((*source)->produce(out, 1000) == State::More) {
  }
  EXPECT_EQ(out, "one\n");
  EXPECT_TRUE(runtime_.remove_sandbox("u"));
  std::filesystem::remove_all(data_dir_ + "/pods/u");
  EXPECT_EQ(next(**source, out), State::End);
}

// Nobody records that end: what tells of it is that the supervisor's descriptors are closed.
TEST_F(LogServiceTest, EndsWithTheSupervisorOfAContainerThatNeverWrote) {
  start(0);
  const runtime::Fd dir(open(directory().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  std::optional<runtime::ContainerLog> log;
  log.emplace(dir.get(), "0.log");
  const auto source = ask({{"follow", true}});
  ASSERT_TRUE(source);
  std::string out;
  EXPECT_EQ((*source)->produce(out, 1000), State::Waiting);
  runtime_.end("u", "c", 137);
  log.reset();
  EXPECT_EQ(next(**source, out), State::End);
  EXPECT_EQ(out, "");
}

TEST_F(LogServiceTest, ManyFollowersOfOneContainer) {
  start(0);
  std::vector<std::unique_ptr<TunnelSource>> sources;
  std::vector<std::string> outs(50);
  for (std::size_t i = 0; i < outs.size(); ++i) {
    sources.push_back(std::move(*ask({{"follow", true}})));
    EXPECT_EQ(sources[i]->produce(outs[i], 1000), State::Waiting);
  }
  sources.erase(sources.begin());  // the others still hear
  wakes_ = 0;
  say(0, "one");
  std::string out;
  next(*sources[0], out);
  EXPECT_GE(wakes_, 49);
  for (std::size_t i = 1; i < sources.size(); ++i) sources[i]->produce(out, 1000);
  EXPECT_EQ(out.size(), 49U * 4);
}

}  // namespace
}  // namespace coracle::logs
