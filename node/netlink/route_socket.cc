#include "netlink/route_socket.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/errno.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cstdlib>
#include <utility>

namespace coracle::netlink {
namespace {

constexpr int kMaxDumps = 20;
constexpr timeval kAnswerTimeout{10, 0};

Error nl_error(int code, const std::string& what) {
  return {Code::Internal, what + ": " + nl_geterror(code)};
}

// The kernel's explanation, which follows the error in its acknowledgement (NETLINK_EXT_ACK).
std::string explanation(const nlmsghdr* header) {
  if ((header->nlmsg_flags & NLM_F_ACK_TLVS) == 0) return "";
  // NLM_F_CAPPED: the request is not repeated but for its header, which nlmsgerr holds.
  const std::size_t offset = sizeof(nlmsgerr);
  if (header->nlmsg_len <= NLMSG_HDRLEN + offset) return "";
  const auto* start = static_cast<const char*>(nlmsg_data(header)) + offset;
  const auto length = static_cast<int>(header->nlmsg_len - NLMSG_HDRLEN - offset);
  const nlattr* text = nla_find(reinterpret_cast<const nlattr*>(start), length, NLMSGERR_ATTR_MSG);
  if (text == nullptr) return "";
  const std::string message(static_cast<const char*>(nla_data(text)),
                            static_cast<std::size_t>(nla_len(text)));
  return " (" + message.substr(0, message.find('\0')) + ")";
}

Result<void> acknowledged(const nlmsghdr* header) {
  if (nlmsg_datalen(header) < static_cast<int>(sizeof(int)))
    return Error{Code::Internal, "netlink: short acknowledgement"};
  const int error = static_cast<const nlmsgerr*>(nlmsg_data(header))->error;
  if (error == 0) return {};
  return Error::from_errno(-error, "netlink" + explanation(header));
}

}  // namespace

void MessageDeleter::operator()(nl_msg* message) const {
  nlmsg_free(message);
}

Socket::Socket(Socket&& other) noexcept : socket_(std::exchange(other.socket_, nullptr)) {}
Socket& Socket::operator=(Socket&& other) noexcept {
  std::swap(socket_, other.socket_);
  return *this;
}
Socket::~Socket() {
  if (socket_ != nullptr) nl_socket_free(socket_);
}

Result<Socket> Socket::open() {
  Socket socket(nl_socket_alloc());
  if (socket.socket_ == nullptr) return Error{Code::Internal, "netlink: out of memory"};
  if (const int code = nl_connect(socket.socket_, NETLINK_ROUTE); code < 0)
    return nl_error(code, "netlink socket");
  nl_socket_disable_auto_ack(socket.socket_);
  const int on = 1;
  // Older kernels lack these; errors are then less explicit.
  (void)setsockopt(socket.fd(), SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on));
  (void)setsockopt(socket.fd(), SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on));
  if (setsockopt(socket.fd(), SOL_SOCKET, SO_RCVTIMEO, &kAnswerTimeout, sizeof(kAnswerTimeout)) !=
      0)
    return Error::from_errno(errno, "netlink socket");
  return socket;
}

int Socket::fd() const {
  return nl_socket_get_fd(socket_);
}

Result<void> Socket::join(int group) {
  if (const int code = nl_socket_add_membership(socket_, group); code < 0)
    return nl_error(code, "netlink group");
  return {};
}

Result<unsigned> Socket::send(nl_msg* message) {
  if (message == nullptr) return Error{Code::Internal, "netlink: message does not fit"};
  nl_complete_msg(socket_, message);
  if (const int code = nl_send(socket_, message); code < 0) return nl_error(code, "netlink send");
  return nlmsg_hdr(message)->nlmsg_seq;
}

Result<Socket::Answer> Socket::receive(unsigned sequence,
                                       const std::function<void(const nlmsghdr*)>& each) {
  Answer answer;
  for (;;) {
    sockaddr_nl from{};
    unsigned char* buffer = nullptr;
    const int size = nl_recv(socket_, &from, &buffer, nullptr);
    const std::unique_ptr<unsigned char, void (*)(void*)> owner(buffer, std::free);
    if (size <= 0) return nl_error(size, "netlink receive");
    if (from.nl_pid != 0) continue;  // not the kernel's
    int left = size;
    for (auto* header = reinterpret_cast<nlmsghdr*>(buffer); nlmsg_ok(header, left) != 0;
         header = nlmsg_next(header, &left)) {
      // The rest of an answer whose reader gave up earlier, or a notification.
      if (header->nlmsg_seq != sequence) continue;
      answer.interrupted |= (header->nlmsg_flags & NLM_F_DUMP_INTR) != 0;
      if (header->nlmsg_type == NLMSG_ERROR) {
        TRY(acknowledged(header));
        return answer;
      }
      if (header->nlmsg_type == NLMSG_DONE) return answer;
      if (header->nlmsg_type >= NLMSG_MIN_TYPE) each(header);
    }
  }
}

Result<void> Socket::change(nl_msg* message) {
  return ask(message, [](const nlmsghdr*) {});
}

Result<void> Socket::ask(nl_msg* message, const std::function<void(const nlmsghdr*)>& each) {
  if (message != nullptr) nlmsg_hdr(message)->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
  const unsigned sequence = TRY(send(message));
  TRY(receive(sequence, each));
  return {};
}

Result<void> Socket::dump(const std::function<Message()>& request,
                          const std::function<void()>& restart,
                          const std::function<void(const nlmsghdr*)>& each) {
  for (int i = 0; i < kMaxDumps; ++i) {
    restart();
    const Message message = request();
    if (message != nullptr) nlmsg_hdr(message.get())->nlmsg_flags |= NLM_F_REQUEST | NLM_F_DUMP;
    const unsigned sequence = TRY(send(message.get()));
    const Answer answer = TRY(receive(sequence, each));
    if (!answer.interrupted) return {};
  }
  return Error{Code::Unavailable, "netlink: the network changes faster than it can be read"};
}

}  // namespace coracle::netlink
