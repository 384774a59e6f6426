// Listening TCP sockets. Non-blocking, close-on-exec.
#pragma once

#include <coracle/result.h>

#include <string>

namespace coracle {

// Listens on `port` (0: any free one) of `address`; "" or an unspecified one means every address,
// IPv4 and, where the machine has it, IPv6, through one socket. Internal when that is not possible,
// naming address and port.
Result<int> listen_on(const std::string& address, int port);

// REQUIRES: `fd` is a bound socket.
int bound_port(int fd);

}  // namespace coracle
