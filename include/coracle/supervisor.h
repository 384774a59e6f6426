// A Pod's supervisor: the same executable under another argv, small, entered before any library is
// set up. See node/runtime/supervisor.cc for its protocol.
#pragma once

namespace coracle {

// Whether the process was started as a supervisor (or as a program inside a Pod, such as the echo
// server of coracle/echo, or as the one that keeps the agent's sockets).
bool is_supervisor(int argc, char** argv);
// Runs it; the process's exit code.
int supervisor_main(int argc, char** argv);

}  // namespace coracle
