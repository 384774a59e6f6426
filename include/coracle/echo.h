// The image coracle/echo: an HTTP, TCP and UDP echo server. HTTP and plain TCP share each port (the
// first bytes tell); GET / names Pod, namespace, Pod IP, node and the client's address and port.
#pragma once

#include <coracle/net.h>

#include <vector>

namespace coracle {

// Serves until SIGTERM or SIGINT; the process's exit code. Reads POD_NAME, POD_NAMESPACE, POD_IP
// and NODE_NAME from the environment.
int echo_main(const std::vector<Port>& ports);

}  // namespace coracle
