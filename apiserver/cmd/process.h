// What the long-lived subcommands, `server` and `agent`, share as processes.
#pragma once

#include <coracle/result.h>

#include <csignal>
#include <functional>
#include <string>

namespace coracle {

// Settings of the process, before any thread is made. SIGINT and SIGTERM are blocked in all of them
// and returned, for wait_for_signal.
sigset_t begin_process();
// Waits, and gives unused memory back meanwhile. `go_on` is called now and then (every 20 s); when
// it says no, the result is 0, else it is the signal.
int wait_for_signal(const sigset_t& signals, const std::function<bool()>& go_on = {});
// 0700.
Result<void> make_data_dir(const std::string& path);
std::string host_name();

}  // namespace coracle
