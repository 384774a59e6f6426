#include <coracle/api/peers.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace coracle {
namespace {

constexpr std::size_t kMostInMatrix = 12;
constexpr std::size_t kMostPairs = 50;
constexpr const char* kUnknown = "?";

std::string cell(const PeerRow& from, const std::string& to) {
  const auto found = from.peers.find(to);
  if (!from.ready || found == from.peers.end()) return kUnknown;
  if (found->second == kPeerUnreachable) return "unreachable";
  if (found->second == kPeerChecksum) return "checksum";
  if (found->second == kPeerMtu) return "mtu";
  return found->second == kPeerOk ? kPeerOk : kUnknown;
}

std::string pad(const std::string& text, std::size_t width) {
  return text + std::string(width - std::min(width, text.size()), ' ');
}

std::string trimmed(std::string text) {
  text.erase(text.find_last_not_of(' ') + 1);
  return text;
}

std::vector<std::string> all_pairs(const std::vector<PeerRow>& rows) {
  const std::string corner = "from \\ to";
  std::size_t first = corner.size();
  for (const PeerRow& row : rows) first = std::max(first, row.node.size());
  std::vector<std::string> lines{pad(corner, first)};
  for (const PeerRow& row : rows) lines.push_back(pad(row.node, first));
  for (const PeerRow& to : rows) {
    std::size_t width = to.node.size();
    for (const PeerRow& from : rows) width = std::max(width, cell(from, to.node).size());
    lines[0] += "  " + pad(to.node, width);
    for (std::size_t i = 0; i < rows.size(); ++i)
      lines[i + 1] += "  " + pad(&rows[i] == &to ? "-" : cell(rows[i], to.node), width);
  }
  std::transform(lines.begin(), lines.end(), lines.begin(), trimmed);
  return lines;
}

std::vector<std::string> failing_pairs(const std::vector<PeerRow>& rows) {
  std::vector<std::string> failing;
  std::size_t unknown = 0;
  for (const PeerRow& from : rows) {
    for (const PeerRow& to : rows) {
      if (&from == &to) continue;
      const std::string state = cell(from, to.node);
      unknown += state == kUnknown ? 1 : 0;
      if (state != kUnknown && state != kPeerOk)
        failing.push_back(from.node + " -> " + to.node + "  " + state);
    }
  }
  std::string head = std::to_string(failing.size()) + " of " +
                     std::to_string(rows.size() * (rows.size() - 1)) + " pairs fail";
  if (unknown > 0) head += ", " + std::to_string(unknown) + " are not tested";
  std::vector<std::string> lines{std::move(head)};
  for (std::size_t i = 0; i < std::min(failing.size(), kMostPairs); ++i)
    lines.push_back(std::move(failing[i]));
  if (failing.size() > kMostPairs)
    lines.push_back("and " + std::to_string(failing.size() - kMostPairs) + " more");
  return lines;
}

}  // namespace

std::string peers_text(const PeerStates& states) {
  return Json(states).dump();
}

PeerStates parse_peers(const std::string& text) {
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) return {};
  PeerStates out;
  for (const auto& [node, state] : json.items())
    if (state.is_string()) out.emplace(node, state.get<std::string>());
  return out;
}

PeerMatrix compute_peer_matrix(const std::vector<PeerRow>& rows) {
  if (rows.size() < 2) return {};
  PeerMatrix out;
  out.lines = rows.size() > kMostInMatrix ? failing_pairs(rows) : all_pairs(rows);
  for (const PeerRow& from : rows) {
    for (const PeerRow& to : rows) {
      const std::string state = cell(from, to.node);
      out.well = out.well && (&from == &to || !to.ready || state == kUnknown || state == kPeerOk);
    }
  }
  return out;
}

}  // namespace coracle
