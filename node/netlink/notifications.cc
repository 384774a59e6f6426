#include "netlink/notifications.h"

#include <netlink/msg.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

namespace coracle::netlink {

bool read_notifications(int fd, const std::function<void(nlmsghdr*)>& each) {
  bool complete = true;
  alignas(nlmsghdr) std::array<unsigned char, 16384> buffer;  // NOLINT(*-member-init): recv's
  for (;;) {
    const ssize_t size = ::recv(fd, buffer.data(), buffer.size(), MSG_DONTWAIT | MSG_TRUNC);
    if (size < 0 && errno == EINTR) continue;
    const bool lost = (size < 0 && errno == ENOBUFS) ||
                      (size > 0 && static_cast<std::size_t>(size) > buffer.size());
    if (lost) complete = false;
    if (lost) continue;
    if (size <= 0) return complete;
    int left = static_cast<int>(size);
    for (auto* head = reinterpret_cast<nlmsghdr*>(buffer.data()); nlmsg_ok(head, left) != 0;
         head = nlmsg_next(head, &left))
      each(head);
  }
}

}  // namespace coracle::netlink
