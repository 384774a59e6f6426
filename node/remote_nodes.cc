#include "remote_nodes.h"

#include <algorithm>
#include <sstream>
#include <utility>

namespace coracle {
namespace {

std::optional<Ip> address_of(const Node& node) {
  for (const std::string& text : node.internal_ips) {
    const auto ip = Ip::parse(text);
    if (ip && ip->is_v4() && !ip->is_loopback() && !ip->is_unspecified() && !ip->is_multicast())
      return *ip;
  }
  return std::nullopt;
}

bool inside(const Cidr& range, const Cidr& whole) {
  return range.ip.is_v4() && range.prefix >= whole.prefix && range.prefix <= 30 &&
         whole.contains(range.network());
}

std::optional<RemoteNode> remote_of(const Node& node, const OwnNode& own) {
  const auto cidr = Cidr::parse(node.pod_cidr);
  const auto ip = address_of(node);
  if (!cidr || !ip || *ip == own.ip) return std::nullopt;
  if (!inside(*cidr, own.cluster_cidr) || cidr->overlaps(own.pod_cidr)) return std::nullopt;
  // An address in a Pod's range would be reached through the way that leads to it.
  if (own.cluster_cidr.contains(*ip)) return std::nullopt;
  return RemoteNode{{cidr->network(), cidr->prefix}, *ip};
}

struct Reachable {
  RemoteNode remote;
  std::shared_ptr<const Node> node;
};

std::vector<Reachable> reachable(const std::vector<std::shared_ptr<const Node>>& nodes,
                                 const OwnNode& own) {
  std::vector<Reachable> out;
  for (const auto& node : nodes) {
    if (node->meta.name == own.name) continue;
    if (const auto remote = remote_of(*node, own)) out.push_back({*remote, node});
  }
  // By range; of equal ranges the first by name stays. Ranges of one size that overlap are equal.
  std::stable_sort(out.begin(), out.end(), [](const Reachable& a, const Reachable& b) {
    return a.remote.pod_cidr < b.remote.pod_cidr;
  });
  std::vector<Reachable> kept;
  for (const Reachable& one : out) {
    if (kept.empty() || !kept.back().remote.pod_cidr.overlaps(one.remote.pod_cidr))
      kept.push_back(one);
  }
  return kept;
}

}  // namespace

std::vector<RemoteNode> compute_remotes(const std::vector<std::shared_ptr<const Node>>& nodes,
                                        const OwnNode& own) {
  std::vector<RemoteNode> out;
  for (const Reachable& one : reachable(nodes, own)) out.push_back(one.remote);
  return out;
}

std::vector<ProbePeer> compute_peers(const std::vector<std::shared_ptr<const Node>>& nodes,
                                     const OwnNode& own) {
  std::vector<ProbePeer> out;
  for (const Reachable& one : reachable(nodes, own))
    out.push_back({one.node->meta.name, bridge_address(one.remote.pod_cidr).ip, one.node->ready});
  return out;
}

RemoteNodes::RemoteNodes(Client& client, std::function<void()> on_change)
    : informer_(client, resources::kNodes) {
  informer_.on_change_values(
      [on_change = std::move(on_change)](const ObjectKey&, const auto& old, const auto& now) {
        if (old && now && old->pod_cidr == now->pod_cidr &&
            old->internal_ips == now->internal_ips && old->ready == now->ready)
          return;
        on_change();
      });
}

std::optional<std::vector<RemoteNode>> RemoteNodes::remotes(const OwnNode& own) const {
  if (!informer_.synced()) return std::nullopt;
  return compute_remotes(informer_.list(), own);
}

std::optional<std::vector<ProbePeer>> RemoteNodes::peers(const OwnNode& own) const {
  if (!informer_.synced()) return std::nullopt;
  return compute_peers(informer_.list(), own);
}

std::string remotes_text(const std::vector<RemoteNode>& remotes) {
  std::string text;
  for (const RemoteNode& remote : remotes)
    text += remote.pod_cidr.to_string() + " " + remote.ip.to_string() + "\n";
  return text;
}

std::vector<RemoteNode> parse_remotes(const std::string& text) {
  std::vector<RemoteNode> out;
  std::istringstream lines(text);
  std::string cidr_text;
  std::string ip_text;
  while (lines >> cidr_text >> ip_text) {
    const auto cidr = Cidr::parse(cidr_text);
    const auto ip = Ip::parse(ip_text);
    if (cidr && ip && cidr->ip.is_v4() && ip->is_v4()) out.push_back({*cidr, *ip});
  }
  return out;
}

}  // namespace coracle
