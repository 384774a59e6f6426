// The agent's side of a supervisor's socket, and starting one.
#pragma once

#include <coracle/result.h>
#include <sys/un.h>

#include <chrono>
#include <string>

#include "runtime/sandbox_files.h"

namespace coracle::runtime {

// Where a supervisor listens: through its directory's descriptor, as a path of any length then fits
// into a socket's address.
sockaddr_un socket_address(int dir);
// Starts a supervisor for the sandbox in `dir`, detached from this process, and waits until it has
// set up its namespaces. Fails when the
// sandbox has one, which it does not touch.
Result<void> launch_supervisor(int dir, int executable, const std::string& title,
                               const std::string& path);
// A connection to it. NotFound when there is none.
Result<Fd> connect_supervisor(int dir);
// One order and its answer. Timeout after `patience`.
Result<void> order(int connection, const std::string& text, std::chrono::milliseconds patience);

}  // namespace coracle::runtime
