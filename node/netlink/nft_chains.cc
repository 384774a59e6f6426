#include "netlink/nft_chains.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <memory>
#include <vector>

#ifndef NLM_F_NONREC
#define NLM_F_NONREC 0x100
#endif

namespace coracle {
namespace {

struct FreeSocket {
  void operator()(nl_sock* socket) const { nl_socket_free(socket); }
};
struct FreeMessage {
  void operator()(nl_msg* message) const { nlmsg_free(message); }
};
using Socket = std::unique_ptr<nl_sock, FreeSocket>;
using Message = std::unique_ptr<nl_msg, FreeMessage>;

Error failed(int code) {
  return {Code::Internal, std::string("nf_tables: ") + nl_geterror(code)};
}

Result<Socket> connect() {
  Socket socket(nl_socket_alloc());
  if (!socket) return failed(-NLE_NOMEM);
  const int code = nl_connect(socket.get(), NETLINK_NETFILTER);
  if (code < 0) return failed(code);
  const timeval limit{.tv_sec = 5, .tv_usec = 0};
  (void)setsockopt(nl_socket_get_fd(socket.get()), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  nl_socket_disable_seq_check(socket.get());
  return socket;
}

// One with its family header; `resource` is the subsystem that a batch is of.
Message make_message(int type, int flags, int family, int resource = 0) {
  Message message(nlmsg_alloc_simple(type, NLM_F_REQUEST | flags));
  nfgenmsg head{};
  head.nfgen_family = static_cast<std::uint8_t>(family);
  head.version = NFNETLINK_V0;
  head.res_id = htons(static_cast<std::uint16_t>(resource));
  if (message && nlmsg_append(message.get(), &head, sizeof(head), NLMSG_ALIGNTO) < 0)
    message.reset();
  return message;
}

constexpr int of_nft(int type) {
  return NFNL_SUBSYS_NFTABLES << 8 | type;
}

std::string text_of(nlmsghdr* head, int type) {
  const nlattr* attribute = nlmsg_find_attr(head, sizeof(nfgenmsg), type);
  if (attribute == nullptr || nla_len(attribute) <= 0) return "";
  const std::string all(static_cast<const char*>(nla_data(attribute)),
                        static_cast<std::size_t>(nla_len(attribute)));
  return all.substr(0, all.find('\0'));
}

int take_table(nl_msg* message, void* names) {
  static_cast<NftNames*>(names)->tables.insert(text_of(nlmsg_hdr(message), NFTA_TABLE_NAME));
  return NL_OK;
}

int take_chain(nl_msg* message, void* names) {
  auto& into = *static_cast<NftNames*>(names);
  nlmsghdr* head = nlmsg_hdr(message);
  const NftChain chain{text_of(head, NFTA_CHAIN_TABLE), text_of(head, NFTA_CHAIN_NAME)};
  into.chains.insert(chain);
  const nlattr* policy = nlmsg_find_attr(head, sizeof(nfgenmsg), NFTA_CHAIN_POLICY);
  if (policy != nullptr && nla_len(policy) >= static_cast<int>(sizeof(std::uint32_t)) &&
      ntohl(nla_get_u32(policy)) == NF_DROP)
    into.dropping.insert(chain);
  return NL_OK;
}

Result<void> dump(int type, int (*take)(nl_msg*, void*), NftNames& names) {
  const Socket socket = TRY(connect());
  const Message message = make_message(of_nft(type), NLM_F_DUMP, NFPROTO_IPV4);
  if (!message) return failed(-NLE_NOMEM);
  int code = nl_socket_modify_cb(socket.get(), NL_CB_VALID, NL_CB_CUSTOM, take, &names);
  if (code >= 0) code = nl_send_auto(socket.get(), message.get());
  if (code >= 0) code = nl_recvmsgs_default(socket.get());
  if (code < 0) return failed(code);
  return {};
}

// Changes come in batches: a begin, what is to be done, an end.
Result<void> apply(nl_msg* change) {
  const Socket socket = TRY(connect());
  const Message begin = make_message(NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
  const Message end = make_message(NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
  if (!begin || !end) return failed(-NLE_NOMEM);
  std::vector<char> batch;
  for (nl_msg* message : {begin.get(), change, end.get()}) {
    nl_complete_msg(socket.get(), message);
    const nlmsghdr* head = nlmsg_hdr(message);
    // Only the change is to be answered.
    if (message != change)
      nlmsg_hdr(message)->nlmsg_flags &= static_cast<std::uint16_t>(~NLM_F_ACK);
    const char* bytes = reinterpret_cast<const char*>(head);
    batch.insert(batch.end(), bytes, bytes + head->nlmsg_len);
    batch.resize(NLMSG_ALIGN(batch.size()));
  }
  int code = nl_sendto(socket.get(), batch.data(), batch.size());
  if (code >= 0) code = nl_wait_for_ack(socket.get());
  if (code >= 0 || code == -NLE_BUSY || code == -NLE_OBJ_NOTFOUND) return {};
  return failed(code);
}

}  // namespace

Result<NftNames> nft_names() {
  NftNames names;
  TRY(dump(NFT_MSG_GETTABLE, take_table, names));
  TRY(dump(NFT_MSG_GETCHAIN, take_chain, names));
  return names;
}

// NLM_F_NONREC: rules are not removed along with their chain, nor chains with their table.
Result<void> remove_unused_nft_chain(const NftChain& chain) {
  const Message message =
      make_message(of_nft(NFT_MSG_DELCHAIN), NLM_F_ACK | NLM_F_NONREC, NFPROTO_IPV4);
  if (!message || nla_put_string(message.get(), NFTA_CHAIN_TABLE, chain.table.c_str()) < 0 ||
      nla_put_string(message.get(), NFTA_CHAIN_NAME, chain.chain.c_str()) < 0)
    return failed(-NLE_NOMEM);
  return apply(message.get());
}

Result<void> remove_unused_nft_table(const std::string& table) {
  const Message message =
      make_message(of_nft(NFT_MSG_DELTABLE), NLM_F_ACK | NLM_F_NONREC, NFPROTO_IPV4);
  if (!message || nla_put_string(message.get(), NFTA_TABLE_NAME, table.c_str()) < 0)
    return failed(-NLE_NOMEM);
  return apply(message.get());
}

}  // namespace coracle
