// How the nodes reach each other, as each says it in an annotation of its Node: written by the
// agents, shown by `coracle status`. Implemented in apiserver/api/peers.cc. Pure.
#pragma once

#include <coracle/object.h>

#include <map>
#include <string>
#include <vector>

namespace coracle {

// Compact JSON: {"node-2":"ok","node-3":"MtuTooSmall"}. Nodes that are not tested yet are absent.
inline constexpr const char* kPeersAnnotation = "coracle.io/peers";
inline constexpr const char* kPeerOk = "ok";
// Else the reason, which is also that of the node's condition NetworkUnavailable.
inline constexpr const char* kPeerUnreachable = "PeerUnreachable";
inline constexpr const char* kPeerChecksum = "ChecksumOffloadBroken";
inline constexpr const char* kPeerMtu = "MtuTooSmall";

using PeerStates = std::map<std::string, std::string>;  // by node name
std::string peers_text(const PeerStates& states);
// Members that are no strings read as absent, and a text that is no object as empty.
PeerStates parse_peers(const std::string& text);

struct PeerRow {
  std::string node;
  bool ready = false;  // of one that is not, what it said last says nothing
  PeerStates peers;
};
struct PeerMatrix {
  std::vector<std::string> lines;  // none for less than two nodes
  bool well = true;                // no node that is Ready fails to reach another one
};
// Who reaches whom: all pairs for up to 12 nodes; for more the pairs that fail, of those the first
// 50, and how many there are.
PeerMatrix compute_peer_matrix(const std::vector<PeerRow>& rows);

}  // namespace coracle
