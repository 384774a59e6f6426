#include <coracle/api/peers.h>
#include <gtest/gtest.h>

namespace coracle {
namespace {

using Lines = std::vector<std::string>;

TEST(Peers, AreReadAsTheyWereWritten) {
  const PeerStates states{{"node-2", kPeerOk}, {"node-3", kPeerMtu}};
  EXPECT_EQ(peers_text(states), R"({"node-2":"ok","node-3":"MtuTooSmall"})");
  EXPECT_EQ(parse_peers(peers_text(states)), states);
  for (const char* text : {"", "{", "[]", "3", R"({"node-2":1})", R"({"node-2":{"a":"ok"}})"})
    EXPECT_TRUE(parse_peers(text).empty()) << text;
  EXPECT_EQ(parse_peers(R"({"a":null,"b":"ok"})"), (PeerStates{{"b", "ok"}}));
}

TEST(PeerMatrix, ShowsAllPairsOfFewNodes) {
  const auto matrix = compute_peer_matrix(
      {{"node-1", true, {{"node-2", kPeerOk}, {"node-3", kPeerUnreachable}}},
       {"node-2", true, {{"node-1", kPeerChecksum}, {"node-3", kPeerMtu}, {"gone", kPeerOk}}},
       {"node-3", true, {{"node-1", "nonsense"}}}});
  EXPECT_EQ(matrix.lines, (Lines{"from \\ to  node-1    node-2  node-3",      //
                                 "node-1     -         ok      unreachable",  //
                                 "node-2     checksum  -       mtu",          //
                                 "node-3     ?         ?       -"}));
  EXPECT_FALSE(matrix.well);
}

TEST(PeerMatrix, WhatASilentNodeSaidLastDoesNotCount) {
  const auto matrix = compute_peer_matrix({{"node-1", true, {{"node-2", kPeerUnreachable}}},
                                           {"node-2", false, {{"node-1", kPeerUnreachable}}}});
  EXPECT_EQ(matrix.lines, (Lines{"from \\ to  node-1  node-2",  //
                                 "node-1     -       unreachable", "node-2     ?       -"}));
  EXPECT_TRUE(matrix.well);  // a node that is down is shown as that
}

TEST(PeerMatrix, IsNothingForOneNodeAndWellWhileNothingIsTested) {
  EXPECT_TRUE(compute_peer_matrix({}).lines.empty());
  EXPECT_TRUE(compute_peer_matrix({{"node-1", true, {{"gone", kPeerMtu}}}}).lines.empty());
  const auto untested = compute_peer_matrix({{"a", true, {}}, {"a-longer-name", true, {}}});
  EXPECT_EQ(untested.lines, (Lines{"from \\ to      a  a-longer-name",  //
                                   "a              -  ?",               //
                                   "a-longer-name  ?  -"}));
  EXPECT_TRUE(untested.well);
}

std::vector<PeerRow> many(std::size_t count) {
  std::vector<PeerRow> rows(count);
  for (std::size_t i = 0; i < count; ++i) rows[i] = {"n" + std::to_string(i + 1), true, {}};
  for (PeerRow& row : rows)
    for (const PeerRow& other : rows)
      if (&row != &other) row.peers[other.node] = kPeerOk;
  return rows;
}

TEST(PeerMatrix, OfManyNodesShowsWhatFails) {
  EXPECT_EQ(compute_peer_matrix(many(12)).lines.size(), 13U);
  auto rows = many(13);
  EXPECT_EQ(compute_peer_matrix(rows).lines, (Lines{"0 of 156 pairs fail"}));
  EXPECT_TRUE(compute_peer_matrix(rows).well);
  rows[2].peers["n7"] = kPeerMtu;
  rows[12].ready = false;
  const auto matrix = compute_peer_matrix(rows);
  EXPECT_EQ(matrix.lines, (Lines{"1 of 156 pairs fail, 12 are not tested", "n3 -> n7  mtu"}));
  EXPECT_FALSE(matrix.well);
}

TEST(PeerMatrix, OfVeryManyFailuresShowsTheFirst) {
  auto rows = many(20);
  for (PeerRow& row : rows)
    for (auto& [node, state] : row.peers) state = kPeerUnreachable;
  const auto lines = compute_peer_matrix(rows).lines;
  EXPECT_EQ(lines.size(), 52U);
  EXPECT_EQ(lines.front(), "380 of 380 pairs fail");
  EXPECT_EQ(lines.back(), "and 330 more");
}

}  // namespace
}  // namespace coracle
