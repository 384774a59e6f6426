// What a process in a Pod may do: its user, capabilities and no_new_privs, and a seccomp filter
// that refuses what those leave open (user namespaces above all: in one of its own, root could
// mount). Only system calls: may be called between fork and exec.
#pragma once

#include "runtime/privileges.h"

namespace coracle::runtime {

// For the calling thread and what it executes. Not to be undone. False with errno. A call that only
// a capability beyond the default opens is left open to those who were given that one.
bool confine(const Privileges& privileges);

}  // namespace coracle::runtime
