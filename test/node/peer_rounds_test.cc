#include "node/peer_rounds.h"

#include <gtest/gtest.h>

#include <set>

namespace coracle {
namespace {

using namespace std::chrono_literals;
using Verdict = std::optional<PeerVerdict>;

const Ip kTwo = *Ip::parse("10.42.2.1");
const Ip kThree = *Ip::parse("10.42.3.1");

TEST(Classify, ByWhatWasAnswered) {
  struct Case {
    bool small, no_checksum, large;
    PeerVerdict verdict;
  };
  for (const Case& c :
       {Case{true, true, true, PeerVerdict::Ok},
        Case{false, false, false, PeerVerdict::Unreachable},
        Case{false, true, false, PeerVerdict::ChecksumOffloadBroken},
        Case{true, true, false, PeerVerdict::MtuTooSmall},
        Case{true, false, false, PeerVerdict::MtuTooSmall},
        // A large packet has a checksum, and is a way for small ones.
        Case{false, true, true, PeerVerdict::Ok}, Case{false, false, true, PeerVerdict::Ok},
        Case{true, false, true, PeerVerdict::Ok}})
    EXPECT_EQ(classify({c.small, c.no_checksum, c.large}), c.verdict)
        << c.small << c.no_checksum << c.large;
}

// Peers that answer what they are set to, at once; time goes from step to step.
class PeerRoundsTest : public testing::Test {
 protected:
  std::vector<PeerRounds::Send> step() {
    const auto sends = rounds_.step(now_, [this] { return ++ids_; });
    for (const auto& send : sends) {
      sent_.insert(send.to);
      if (!works_[send.to].contains(send.kind)) continue;
      rounds_.answered(send.to, {.type = ProbePacket::Type::Answer,
                                 .kind = send.kind,
                                 .id = send.id,
                                 .node = names_.at(send.to)});
    }
    return sends;
  }
  // Steps as they become due, for so long.
  void pass(std::chrono::milliseconds time) {
    const auto end = now_ + time;
    while (true) {
      const auto due = rounds_.next();
      if (!due || *due > end) break;
      now_ = std::max(now_, *due);
      step();
    }
    now_ = end;
  }
  Verdict verdict(const std::string& name) {
    for (const PeerResult& result : rounds_.results())
      if (result.name == name) return result.verdict;
    ADD_FAILURE() << name;
    return {};
  }
  void know(bool two_ready = true) {
    rounds_.set_peers({{"n2", kTwo, two_ready}, {"n3", kThree, true}}, now_);
  }

  const std::set<ProbeKind> all_{ProbeKind::Small, ProbeKind::NoChecksum, ProbeKind::Large};
  std::map<Ip, std::string> names_{{kTwo, "n2"}, {kThree, "n3"}};
  std::map<Ip, std::set<ProbeKind>> works_{{kTwo, all_}, {kThree, all_}};
  std::set<Ip> sent_;
  std::uint64_t ids_ = 0;
  PeerRounds::Time now_{1000s};
  PeerRounds rounds_{RoundTimes{}};
};

TEST_F(PeerRoundsTest, NothingIsDueWithoutPeers) {
  EXPECT_FALSE(rounds_.next());
  EXPECT_TRUE(rounds_.known());
  EXPECT_TRUE(step().empty());
  know();
  pass(60s);
  rounds_.set_peers({}, now_);
  EXPECT_FALSE(rounds_.next());
  EXPECT_TRUE(rounds_.results().empty());
}

TEST_F(PeerRoundsTest, NewPeersAreTestedAfterASecondAndThenFromTimeToTime) {
  know();
  EXPECT_FALSE(rounds_.known());
  pass(999ms);
  EXPECT_TRUE(sent_.empty());
  EXPECT_EQ(verdict("n2"), Verdict());
  pass(1ms);
  EXPECT_EQ(sent_, (std::set{kTwo, kThree}));
  EXPECT_TRUE(rounds_.known());
  EXPECT_EQ(verdict("n2"), PeerVerdict::Ok);
  sent_.clear();
  pass(9999ms);
  EXPECT_TRUE(sent_.empty());
  pass(1ms);
  EXPECT_EQ(sent_.size(), 2U);
}

TEST_F(PeerRoundsTest, OnlyWhatWasNotAnsweredIsSentAgain) {
  know();
  works_[kTwo] = {ProbeKind::Small, ProbeKind::NoChecksum};
  now_ += 1s;
  EXPECT_EQ(step().size(), 6U);
  now_ += 500ms;
  const auto again = step();
  ASSERT_EQ(again.size(), 1U);
  EXPECT_EQ(again[0].to, kTwo);
  EXPECT_EQ(again[0].kind, ProbeKind::Large);
  works_[kTwo] = all_;
  now_ += 500ms;
  EXPECT_EQ(step().size(), 1U);
  EXPECT_TRUE(step().empty());  // complete
  EXPECT_EQ(verdict("n2"), PeerVerdict::Ok);
}

TEST_F(PeerRoundsTest, APeerFailsAfterFifteenSecondsAndRecoversAtOnce) {
  know();
  pass(2s);
  works_[kTwo].clear();
  pass(9s + 15s);
  EXPECT_EQ(verdict("n2"), PeerVerdict::Ok);
  pass(5s);
  EXPECT_EQ(verdict("n2"), PeerVerdict::Unreachable);
  EXPECT_EQ(verdict("n3"), PeerVerdict::Ok);
  works_[kTwo] = all_;
  pass(5s);
  EXPECT_EQ(verdict("n2"), PeerVerdict::Ok);
}

TEST_F(PeerRoundsTest, AHiccupIsNoFailure) {
  know();
  pass(2s);
  works_[kTwo].clear();
  pass(20s);
  works_[kTwo] = all_;
  pass(5s);
  works_[kTwo].clear();
  pass(15s);
  EXPECT_EQ(verdict("n2"), PeerVerdict::Ok);
}

TEST_F(PeerRoundsTest, OneThatNeverAnsweredIsNotTestedUntilItFails) {
  works_[kTwo].clear();
  know();
  pass(10s);
  EXPECT_EQ(verdict("n2"), Verdict());
  pass(20s);
  EXPECT_EQ(verdict("n2"), PeerVerdict::Unreachable);
}

TEST_F(PeerRoundsTest, ThatAPeerFailedIsForgottenWhenItBecomesReady) {
  know(true);
  pass(2s);
  works_[kTwo].clear();
  know(false);
  EXPECT_FALSE(rounds_.results()[0].ready);
  pass(40s);
  EXPECT_EQ(verdict("n2"), PeerVerdict::Unreachable);
  know(true);
  EXPECT_TRUE(rounds_.results()[0].ready);
  EXPECT_EQ(verdict("n2"), Verdict());
  works_[kTwo] = all_;
  pass(1s);
  EXPECT_EQ(verdict("n2"), PeerVerdict::Ok);
}

TEST_F(PeerRoundsTest, TheDeadAreNotAskedMoreOftenThanTheLiving) {
  works_[kTwo].clear();
  know(false);
  pass(60s);
  ids_ = 0;
  pass(100s);
  EXPECT_EQ(ids_, 20U);  // two a round
}

TEST_F(PeerRoundsTest, AnswersThatAreNotToTheQuestionDoNotCount) {
  works_[kTwo].clear();
  know();
  now_ += 1s;
  const auto sends = step();
  for (const auto& send : sends) {
    ProbePacket answer{
        .type = ProbePacket::Type::Answer, .kind = send.kind, .id = send.id + 100, .node = "n2"};
    rounds_.answered(kTwo, answer);  // a guess
    answer.id = 0;
    rounds_.answered(kTwo, answer);
    if (send.to != kTwo) continue;
    answer.id = send.id;
    rounds_.answered(kThree, answer);  // from elsewhere
    answer.node = "n4";
    rounds_.answered(kTwo, answer);  // another node has this address
  }
  pass(30s);
  EXPECT_EQ(verdict("n2"), PeerVerdict::Unreachable);
}

TEST_F(PeerRoundsTest, ARoundAtOnceBeginsAnew) {
  know();
  pass(2s);
  sent_.clear();
  rounds_.probe_now(now_);
  EXPECT_EQ(rounds_.next(), now_);
  EXPECT_EQ(step().size(), 6U);
  // In the middle of one that goes wrong, too.
  works_[kTwo].clear();
  rounds_.probe_now(now_);
  step();
  rounds_.probe_now(now_);
  EXPECT_EQ(step().size(), 6U);
}

TEST_F(PeerRoundsTest, APeerAtAnotherAddressIsAnother) {
  know();
  pass(2s);
  rounds_.set_peers({{"n2", kThree, true}, {"n3", kTwo, true}}, now_);
  EXPECT_EQ(verdict("n2"), Verdict());
  names_ = {{kTwo, "n3"}, {kThree, "n2"}};
  pass(1s);
  EXPECT_EQ(verdict("n2"), PeerVerdict::Ok);
}

TEST_F(PeerRoundsTest, NewsAgainAndAgainDoNotPutARoundOff) {
  for (int i = 0; i < 20; ++i) {
    std::vector<ProbePeer> peers{{"n2", kTwo, true}};
    for (int n = 0; n <= i; ++n)
      peers.push_back({"x" + std::to_string(n), *Ip::parse("10.42.9." + std::to_string(n)), true});
    for (const ProbePeer& peer : peers) names_[peer.address] = peer.name;
    rounds_.set_peers(peers, now_);
    pass(500ms);
  }
  EXPECT_EQ(verdict("n2"), PeerVerdict::Ok);
  EXPECT_TRUE(rounds_.known());
}

}  // namespace
}  // namespace coracle
