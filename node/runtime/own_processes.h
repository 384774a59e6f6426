// What a supervisor finds out about its containers' processes.
#pragma once

#include <sys/types.h>

namespace coracle::runtime {

// As /proc has it, which is that of the namespace the agent is in. 0 when there is no such process.
pid_t pid_on_host(pid_t child);

// The mount namespace tells a container's processes from another's where all share one pid
// namespace. 0 when there is no such process.
ino_t mount_namespace(pid_t pid_on_host);
// Kills all processes of the caller's pid namespace that are in that mount namespace.
void kill_all_in(ino_t mount_namespace);

}  // namespace coracle::runtime
