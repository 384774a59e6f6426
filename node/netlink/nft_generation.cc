#include "netlink/nft_generation.h"

#include <arpa/inet.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <sys/time.h>

#include <memory>
#include <optional>

namespace coracle {
namespace {

constexpr int kNewGeneration = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN;
constexpr int kGetGeneration = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN;

struct FreeSocket {
  void operator()(nl_sock* socket) const { nl_socket_free(socket); }
};
struct FreeMessage {
  void operator()(nl_msg* message) const { nlmsg_free(message); }
};

Error failed(int code) {
  return {Code::Internal, std::string("nf_tables generation: ") + nl_geterror(code)};
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
  if (!found) return Error{Code::Internal, "nf_tables generation: the kernel did not tell"};
  return *found;
}

}  // namespace coracle
