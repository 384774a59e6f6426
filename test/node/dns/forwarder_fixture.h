// A Forwarder over real sockets on loopback, with a clock that a test moves.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <vector>

#include "fake_clock.h"
#include "fake_upstream_server.h"
#include "node/dns/upstream.h"

namespace coracle::dns::test {

inline const Question kWww{*Name::parse("www.example.com"), type::kA};

inline Reply address_reply(int count = 1) {
  Reply reply;
  for (int i = 0; i < count; ++i)
    reply.answer.push_back(
        make_address(kWww.name, 60, Ip::v4(0xC0000200U + static_cast<std::uint32_t>(i))));
  return reply;
}

class ForwarderTest : public ::testing::Test {
 protected:
  void use(const std::vector<UpstreamServer>& servers, ForwarderOptions options = {}) {
    forwarder_ = std::move(*Forwarder::create(clock_, options));
    forwarder_->set_servers(servers);
  }
  void ask(const Question& question = kWww) {
    forwarder_->ask(question, [this](const Result<Reply>& reply) { results_.push_back(reply); });
  }
  // Runs it until so many answers are there.
  void run_until(std::size_t count) {
    while (results_.size() < count) {
      ASSERT_TRUE(wait_readable(forwarder_->fd())) << "nothing comes";
      forwarder_->run();
    }
  }
  void run_late(std::chrono::milliseconds time) {
    clock_.pass(time);
    forwarder_->run();
  }

  FakeClock clock_;
  std::unique_ptr<Forwarder> forwarder_;
  std::vector<Result<Reply>> results_;
};

}  // namespace coracle::dns::test
