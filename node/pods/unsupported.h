// What a Pod asks for and this runtime does not do: said once, in an Event, instead of silently.
#pragma once

#include <string>
#include <vector>

#include "pods/node_pod.h"

namespace coracle::pods {

// The fields, as paths, in the order of the spec. A service account's own token volume is not
// counted: nobody asked for it.
std::vector<std::string> unsupported_fields(const NodePod& pod);

}  // namespace coracle::pods
