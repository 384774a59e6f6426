#include "proxy/conntrack.h"

#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace coracle::proxy {
namespace {

constexpr int kMaxMessages = 1 << 20;  // of one dump: far above any conntrack table
constexpr std::size_t kBuffer = 64 * 1024;

class NetlinkSocket {
 public:
  NetlinkSocket() : fd_(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER)) {
    const timeval limit{.tv_sec = 5, .tv_usec = 0};
    if (fd_ >= 0) ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  }
  ~NetlinkSocket() {
    if (fd_ >= 0) ::close(fd_);
  }
  NetlinkSocket(const NetlinkSocket&) = delete;
  NetlinkSocket& operator=(const NetlinkSocket&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

// A view of bytes that reads structures out of any alignment.
template <typename T>
bool read(std::string_view bytes, T& out) {
  if (bytes.size() < sizeof out) return false;
  std::memcpy(&out, bytes.data(), sizeof out);
  return true;
}
template <typename T>
void write(std::string& out, const T& value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);  // NOLINT(*-reinterpret-cast)
}

// The payload of the first attribute of this type; empty when there is none.
std::string_view attribute(std::string_view bytes, unsigned type) {
  nlattr head{};
  while (read(bytes, head) && head.nla_len >= sizeof head && head.nla_len <= bytes.size()) {
    if ((head.nla_type & NLA_TYPE_MASK) == type)
      return bytes.substr(sizeof head, head.nla_len - sizeof head);
    bytes.remove_prefix(std::min<std::size_t>(NLA_ALIGN(head.nla_len), bytes.size()));
  }
  return {};
}

Ip ip_of(std::string_view tuple, unsigned type) {
  std::uint32_t address = 0;
  read(attribute(attribute(tuple, CTA_TUPLE_IP), type), address);
  return Ip::v4(ntohl(address));
}
Port port_of(std::string_view tuple, unsigned type) {
  std::uint16_t port = 0;
  read(attribute(attribute(tuple, CTA_TUPLE_PROTO), type), port);
  return ntohs(port);
}

std::string request(unsigned type, unsigned flags, std::string_view attributes) {
  nlmsghdr head{};
  head.nlmsg_len =
      static_cast<std::uint32_t>(sizeof(nlmsghdr) + sizeof(nfgenmsg) + attributes.size());
  head.nlmsg_type = static_cast<std::uint16_t>((NFNL_SUBSYS_CTNETLINK << 8U) | type);
  head.nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | flags);
  nfgenmsg family{};
  family.nfgen_family = AF_INET;
  family.version = NFNETLINK_V0;
  std::string out;
  write(out, head);
  write(out, family);
  return out.append(attributes);
}

std::string nested(unsigned type, std::string_view payload) {
  nlattr head{};
  head.nla_type = static_cast<std::uint16_t>(NLA_F_NESTED | type);
  head.nla_len = static_cast<std::uint16_t>(sizeof head + payload.size());
  std::string out;
  write(out, head);
  return out.append(payload);
}

Result<void> send_request(const NetlinkSocket& socket, const std::string& text) {
  if (::send(socket.get(), text.data(), text.size(), 0) < 0)
    return Error::from_errno(errno, "conntrack");
  return {};
}

// Calls `f` with each answer's bytes behind its nfgenmsg, until the end of the dump or the
// acknowledgement.
Result<void> receive(const NetlinkSocket& socket, const std::function<void(std::string_view)>& f) {
  std::string buffer(kBuffer, '\0');
  for (int messages = 0; messages < kMaxMessages;) {
    const ssize_t n = ::recv(socket.get(), buffer.data(), buffer.size(), 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return Error::from_errno(n < 0 ? errno : EPIPE, "conntrack");
    std::string_view rest(buffer.data(), static_cast<std::size_t>(n));
    nlmsghdr head{};
    while (read(rest, head) && head.nlmsg_len >= sizeof head && head.nlmsg_len <= rest.size()) {
      ++messages;
      const std::string_view body = rest.substr(sizeof head, head.nlmsg_len - sizeof head);
      if (head.nlmsg_type == NLMSG_DONE) return {};
      if (head.nlmsg_type == NLMSG_ERROR) {
        int error = 0;
        read(body, error);
        if (error == 0) return {};
        return Error::from_errno(-error, "conntrack");
      }
      if (body.size() >= sizeof(nfgenmsg)) f(body.substr(sizeof(nfgenmsg)));
      rest.remove_prefix(std::min<std::size_t>(NLMSG_ALIGN(head.nlmsg_len), rest.size()));
    }
  }
  return Error{Code::TooLarge, "conntrack: the dump does not end"};
}

// The addresses under which a Service port is served.
std::vector<std::pair<Ip, Port>> served(const ServicePort& port) {
  std::vector<std::pair<Ip, Port>> out{{port.cluster_ip, port.port}};
  for (const auto* ips : {&port.external_ips, &port.load_balancer_ips}) {
    for (const Ip& ip : *ips) out.emplace_back(ip, port.port);
  }
  if (port.node_port != 0) out.emplace_back(Ip(), port.node_port);
  return out;
}

std::set<std::pair<Ip, Port>> endpoints(const ServicePort& port) {
  std::set<std::pair<Ip, Port>> out;
  for (const auto* list : {&port.cluster_endpoints, &port.local_endpoints}) {
    for (const ServiceEndpoint& e : *list) out.emplace(e.ip, e.port);
  }
  return out;
}

using Served = std::map<std::pair<Ip, Port>, std::set<std::pair<Ip, Port>>>;
Served udp_addresses(const ServiceTable& table) {
  Served out;
  for (const ServicePort& port : table.ports) {
    if (port.protocol != Protocol::Udp) continue;
    for (const auto& address : served(port)) out[address] = endpoints(port);
  }
  return out;
}

}  // namespace

StaleUdpFlows::StaleUdpFlows(const ServiceTable& before, const ServiceTable& now) {
  const Served old = udp_addresses(before);
  const Served fresh = udp_addresses(now);
  for (const auto& [address, had] : old) {
    const auto has = fresh.find(address);
    for (const auto& endpoint : had) {
      if (has == fresh.end() || !has->second.contains(endpoint)) lost_[address].insert(endpoint);
    }
  }
  for (const auto& [address, has] : fresh) {
    const auto had = old.find(address);
    if (!has.empty() && (had == old.end() || had->second.empty())) gained_.insert(address);
  }
}

StaleUdpFlows::StaleUdpFlows(const ServiceTable& now) : served_(udp_addresses(now)) {
  for (const auto& [address, has] : served_) {
    if (!has.empty()) gained_.insert(address);
  }
}

bool StaleUdpFlows::contains(const Flow& flow) const {
  if (flow.protocol != Protocol::Udp) return false;
  const Address target{flow.target, flow.target_port};
  const Address to{flow.to, flow.to_port};
  for (const Address& served_at : {Address{flow.to, flow.to_port}, Address{Ip(), flow.to_port}}) {
    const auto lost = lost_.find(served_at);
    if (lost != lost_.end() && lost->second.contains(target)) return true;
    // Flows that nobody rewrote may be others' to the same port elsewhere.
    const auto now = served_.find(served_at);
    if (now != served_.end() && target != to && !now->second.contains(target)) return true;
  }
  return target == to && gained_.contains(to);
}

UnservedFlows::UnservedFlows(const ServiceTable& table) {
  for (const ServicePort& port : table.ports) {
    if (endpoints(port).empty()) continue;
    for (const auto& [ip, number] : served(port))
      if (ip != Ip()) served_.emplace(port.protocol, ip, number);
  }
}

bool UnservedFlows::contains(const Flow& flow) const {
  if (flow.target != flow.to || flow.target_port != flow.to_port) return false;
  if (flow.protocol != Protocol::Udp && flow.answered) return false;
  return served_.contains({flow.protocol, flow.to, flow.to_port});
}

Result<int> remove_flows(const std::function<bool(const Flow&)>& stale) {
  const NetlinkSocket socket;
  if (socket.get() < 0) return Error::from_errno(errno, "conntrack");
  TRY(send_request(socket, request(IPCTNL_MSG_CT_GET, NLM_F_DUMP, {})));
  std::vector<std::string> found;
  TRY(receive(socket, [&](std::string_view entry) {
    const std::string_view original = attribute(entry, CTA_TUPLE_ORIG);
    const std::string_view reply = attribute(entry, CTA_TUPLE_REPLY);
    std::uint8_t protocol = 0;
    read(attribute(attribute(original, CTA_TUPLE_PROTO), CTA_PROTO_NUM), protocol);
    if (protocol != IPPROTO_UDP && protocol != IPPROTO_TCP) return;
    std::uint32_t status = 0;  // in network order, enum ip_conntrack_status
    read(attribute(entry, CTA_STATUS), status);
    const Flow flow{.to = ip_of(original, CTA_IP_V4_DST),
                    .to_port = port_of(original, CTA_PROTO_DST_PORT),
                    .target = ip_of(reply, CTA_IP_V4_SRC),
                    .target_port = port_of(reply, CTA_PROTO_SRC_PORT),
                    .protocol = protocol == IPPROTO_UDP ? Protocol::Udp : Protocol::Tcp,
                    .answered = (ntohl(status) & IPS_SEEN_REPLY) != 0};
    if (stale(flow)) found.push_back(nested(CTA_TUPLE_ORIG, original));
  }));
  int removed = 0;
  for (const std::string& tuple : found) {
    TRY(send_request(socket, request(IPCTNL_MSG_CT_DELETE, NLM_F_ACK, tuple)));
    const auto done = receive(socket, [](std::string_view) {});
    if (!done && !is_not_found(done.error())) return done.error();
    removed += done ? 1 : 0;  // one that ended meanwhile is as good
  }
  return removed;
}

}  // namespace coracle::proxy
