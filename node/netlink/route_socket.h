// A netlink route socket: one request at a time, each answer checked for its sequence number, the
// kernel's own words in errors. Stays in the network namespace it was opened in. Not named
// socket.h, which would hide a header of libnl.
#pragma once

#include <coracle/result.h>

#include <functional>
#include <memory>

struct nl_sock;
struct nl_msg;
struct nlmsghdr;

namespace coracle::netlink {

struct MessageDeleter {
  void operator()(nl_msg* message) const;
};
using Message = std::unique_ptr<nl_msg, MessageDeleter>;

class Socket {
 public:
  static Result<Socket> open();
  Socket(Socket&& other) noexcept;
  Socket& operator=(Socket&& other) noexcept;
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  ~Socket();

  // Sends a change and waits for its acknowledgement.
  Result<void> change(nl_msg* message);
  // Sends a request for one object and hands it to `each`.
  Result<void> ask(nl_msg* message, const std::function<void(const nlmsghdr*)>& each);
  // Sends a NLM_F_DUMP request, made anew by `request` for each try, and hands every object to
  // `each`, after `restart`: a dump that a change interrupted is repeated.
  Result<void> dump(const std::function<Message()>& request, const std::function<void()>& restart,
                    const std::function<void(const nlmsghdr*)>& each);

  // Joins a multicast group (RTNLGRP_*).
  Result<void> join(int group);
  int fd() const;

 private:
  explicit Socket(nl_sock* socket) : socket_(socket) {}
  struct Answer {
    bool interrupted = false;
  };
  Result<unsigned> send(nl_msg* message);
  Result<Answer> receive(unsigned sequence, const std::function<void(const nlmsghdr*)>& each);

  nl_sock* socket_;
};

}  // namespace coracle::netlink
