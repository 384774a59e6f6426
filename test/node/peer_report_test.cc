#include "node/peer_report.h"

#include <coracle/api/peers.h>
#include <gtest/gtest.h>

namespace coracle {
namespace {

using Verdict = std::optional<PeerVerdict>;
constexpr Verdict kOk = PeerVerdict::Ok;
constexpr Verdict kGone = PeerVerdict::Unreachable;
constexpr Verdict kSum = PeerVerdict::ChecksumOffloadBroken;
constexpr Verdict kMtu = PeerVerdict::MtuTooSmall;
constexpr Verdict kNotTested = {};

TEST(PeerReport, TheConditionIsTrueWhenMoreThanHalfOfThoseThatAreReadyFail) {
  struct Case {
    const char* name;
    std::vector<Verdict> ready, not_ready;
    const char* reason;  // "": no finding
    bool unavailable;
  };
  for (const Case& c :
       {Case{"nobody", {}, {}, "", false},
        Case{"not tested yet", {kNotTested, kNotTested}, {}, "", false},
        Case{"only dead ones", {}, {kGone, kGone}, "", false},
        Case{"all well", {kOk, kOk}, {}, "PeersReachable", false},
        Case{"a new one", {kOk, kNotTested}, {}, "PeersReachable", false},
        Case{"a dead one", {kOk}, {kGone, kGone}, "PeersReachable", false},
        Case{"the only one", {kGone}, {}, "PeerUnreachable", true},
        Case{"half", {kOk, kMtu}, {}, "MtuTooSmall", false},
        Case{"more than half", {kOk, kMtu, kMtu}, {}, "MtuTooSmall", true},
        Case{"half by one not tested", {kSum, kNotTested}, {}, "ChecksumOffloadBroken", false},
        Case{"most have", {kMtu, kMtu, kGone}, {}, "MtuTooSmall", true},
        Case{"of as many the gravest", {kMtu, kSum, kOk, kOk}, {}, "ChecksumOffloadBroken", false},
        Case{"a dead one does not tip it", {kOk, kGone}, {kGone}, "PeerUnreachable", false}}) {
    SCOPED_TRACE(c.name);
    std::vector<PeerResult> results;
    for (const Verdict& verdict : c.ready)
      results.push_back({"r" + std::to_string(results.size()), true, verdict});
    for (const Verdict& verdict : c.not_ready)
      results.push_back({"d" + std::to_string(results.size()), false, verdict});
    const auto report = compute_peer_report(results);
    ASSERT_EQ(report.finding.has_value(), *c.reason != '\0');
    if (!report.finding) continue;
    EXPECT_EQ(report.finding->reason, c.reason);
    EXPECT_EQ(report.finding->unavailable, c.unavailable);
  }
}

TEST(PeerReport, TheMessageNamesWhatFailsOfThoseThatAreReady) {
  const auto report = compute_peer_report({{"n2", true, kGone},
                                           {"n3", true, kMtu},
                                           {"n4", true, kGone},
                                           {"n5", false, kGone},
                                           {"n6", true, kOk}});
  EXPECT_EQ(report.finding->message,
            "nothing comes back from n2, n4; packets as large as the Pods' MTU do not come back "
            "from n3");
}

TEST(PeerReport, TheMessageIsOfBoundedLength) {
  std::vector<PeerResult> short_names;
  std::vector<PeerResult> long_names;
  for (int i = 0; i < 250; ++i) {
    const std::string number = std::to_string(i);
    short_names.push_back({"n" + number, true, i % 2 == 0 ? kGone : kMtu});
    long_names.push_back({std::string(250 - number.size(), 'n') + number, true, kSum});
  }
  const auto text = compute_peer_report(short_names).finding->message;
  EXPECT_NE(text.find("n18 and 115 more;"), std::string::npos) << text;
  EXPECT_LT(compute_peer_report(long_names).finding->message.size(), 1000U);
}

TEST(PeerReport, TheAnnotationHasAllThatWereTested) {
  EXPECT_EQ(compute_peer_report({}).annotation, "");
  EXPECT_EQ(compute_peer_report({{"n2", true, kNotTested}}).annotation, "");
  EXPECT_EQ(parse_peers(compute_peer_report({{"n2", true, kOk},
                                             {"n3", false, kGone},
                                             {"n4", true, kNotTested},
                                             {"n5", true, kSum},
                                             {"n6", true, kMtu}})
                            .annotation),
            (PeerStates{{"n2", "ok"},
                        {"n3", "PeerUnreachable"},
                        {"n5", "ChecksumOffloadBroken"},
                        {"n6", "MtuTooSmall"}}));
}

}  // namespace
}  // namespace coracle
