// What the kernel tells the members of a netlink group, taken as it comes.
#pragma once

#include <functional>

struct nlmsghdr;

namespace coracle::netlink {

// Takes what has come on the socket `fd` and hands every message to `each`. False when some is
// missing, because the kernel had to drop it or it was too long: whoever keeps a picture looks
// again. Never waits.
[[nodiscard]] bool read_notifications(int fd, const std::function<void(nlmsghdr*)>& each);

}  // namespace coracle::netlink
