#include "netlink/nft_watch.h"

#include <arpa/inet.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <memory>
#include <optional>
#include <utility>

#include "netlink/notifications.h"

namespace coracle {
namespace {

// Enough for what one of our own transactions tells at 10,000 Services, should nobody read
// meanwhile. The kernel takes memory only for what waits.
constexpr int kReceiveBuffer = 32 << 20;
constexpr int kNewGeneration = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN;
constexpr int kGetGeneration = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN;

struct FreeSocket {
  void operator()(nl_sock* socket) const { nl_socket_free(socket); }
};
struct FreeMessage {
  void operator()(nl_msg* message) const { nlmsg_free(message); }
};

Error failed(int code) {
  return {Code::Internal, std::string("nf_tables: ") + nl_geterror(code)};
}

std::string text_of(const nlattr* attribute) {
  if (attribute == nullptr || nla_len(attribute) <= 0) return "";
  const std::string all(static_cast<const char*>(nla_data(attribute)),
                        static_cast<std::size_t>(nla_len(attribute)));
  return all.substr(0, all.find('\0'));
}

// Nothing for messages of other families and of what is no rule, chain or table.
std::optional<NftChange> decode(nlmsghdr* head) {
  if (head->nlmsg_type >> 8 != NFNL_SUBSYS_NFTABLES) return std::nullopt;
  if (nlmsg_datalen(head) < static_cast<int>(sizeof(nfgenmsg))) return std::nullopt;
  if (static_cast<const nfgenmsg*>(nlmsg_data(head))->nfgen_family != AF_INET) return std::nullopt;
  const auto text = [head](int type) {
    return text_of(nlmsg_find_attr(head, sizeof(nfgenmsg), type));
  };
  switch (head->nlmsg_type & 0xff) {
    case NFT_MSG_NEWRULE:
    case NFT_MSG_DELRULE:
      return NftChange{text(NFTA_RULE_TABLE), text(NFTA_RULE_CHAIN)};
    case NFT_MSG_NEWCHAIN:
    case NFT_MSG_DELCHAIN:
      return NftChange{text(NFTA_CHAIN_TABLE), text(NFTA_CHAIN_NAME)};
    case NFT_MSG_NEWTABLE:
    case NFT_MSG_DELTABLE:
      return NftChange{text(NFTA_TABLE_NAME), ""};
    default:
      return std::nullopt;
  }
}

int take_generation(nl_msg* message, void* found) {
  nlmsghdr* head = nlmsg_hdr(message);
  if (head->nlmsg_type != kNewGeneration) return NL_SKIP;
  const nlattr* id = nlmsg_find_attr(head, sizeof(nfgenmsg), NFTA_GEN_ID);
  if (id != nullptr && nla_len(id) >= static_cast<int>(sizeof(std::uint32_t)))
    *static_cast<std::optional<std::uint32_t>*>(found) = ntohl(nla_get_u32(id));
  return NL_OK;
}

}  // namespace

NftWatch::NftWatch(NftWatch&& other) noexcept : socket_(std::exchange(other.socket_, nullptr)) {}
NftWatch& NftWatch::operator=(NftWatch&& other) noexcept {
  std::swap(socket_, other.socket_);
  return *this;
}
NftWatch::~NftWatch() {
  if (socket_ != nullptr) nl_socket_free(socket_);
}

Result<NftWatch> NftWatch::open() {
  NftWatch watch(nl_socket_alloc());
  if (watch.socket_ == nullptr) return failed(-NLE_NOMEM);
  int code = nl_connect(watch.socket_, NETLINK_NETFILTER);
  if (code >= 0) code = nl_socket_set_nonblocking(watch.socket_);
  if (code < 0) return failed(code);
  // Without the privilege it stays at the machine's limit, and more is lost and looked at again.
  (void)setsockopt(watch.fd(), SOL_SOCKET, SO_RCVBUFFORCE, &kReceiveBuffer, sizeof(kReceiveBuffer));
  code = nl_socket_add_membership(watch.socket_, NFNLGRP_NFTABLES);
  if (code < 0) return failed(code);
  return watch;
}

int NftWatch::fd() const {
  return nl_socket_get_fd(socket_);
}

NftWatch::Taken NftWatch::read(pid_t own, const std::function<void(const NftChange&)>& each) {
  Taken taken;
  taken.complete = netlink::read_notifications(fd(), [&](nlmsghdr* head) {
    // A program's one netfilter socket has its process id for its address.
    if (own != 0 && head->nlmsg_pid == static_cast<std::uint32_t>(own)) {
      taken.own_transactions += head->nlmsg_type == kNewGeneration ? 1 : 0;
    } else if (const auto change = decode(head)) {
      each(*change);
    }
  });
  return taken;
}

Result<std::uint32_t> nft_generation() {
  const std::unique_ptr<nl_sock, FreeSocket> socket(nl_socket_alloc());
  const std::unique_ptr<nl_msg, FreeMessage> message(nlmsg_alloc_simple(kGetGeneration, 0));
  if (!socket || !message) return failed(-NLE_NOMEM);
  nfgenmsg family{};
  family.version = NFNETLINK_V0;
  int code = nlmsg_append(message.get(), &family, sizeof(family), NLMSG_ALIGNTO);
  if (code >= 0) code = nl_connect(socket.get(), NETLINK_NETFILTER);
  if (code < 0) return failed(code);
  const timeval limit{.tv_sec = 2, .tv_usec = 0};
  (void)setsockopt(nl_socket_get_fd(socket.get()), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  std::optional<std::uint32_t> found;
  nl_socket_disable_seq_check(socket.get());
  nl_socket_disable_auto_ack(socket.get());
  code = nl_socket_modify_cb(socket.get(), NL_CB_VALID, NL_CB_CUSTOM, take_generation, &found);
  if (code >= 0) code = nl_send_auto(socket.get(), message.get());
  if (code >= 0) code = nl_recvmsgs_default(socket.get());
  if (code < 0) return failed(code);
  if (!found) return Error{Code::Internal, "nf_tables: the kernel did not tell its generation"};
  return *found;
}

}  // namespace coracle
