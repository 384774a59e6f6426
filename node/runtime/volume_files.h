// Contents of configMap, secret, downwardAPI and projected volumes, as upstream lays them out: the
// files lie in a directory of their own, named by its time; the link ..data leads to it, and each
// name in the volume is a link through ..data. New contents come in one step, with that link.
#pragma once

#include <coracle/result.h>

#include "runtime/volume.h"

namespace coracle::runtime {

// Makes these the contents of the volume that is open as `dir`; writes nothing when they are. What
// an agent that died on the way has left goes. Members of the group may read all of it.
Result<void> write_volume_files(int dir, const VolumeFiles& files, std::optional<gid_t> group);

// Whether write_volume_files() has succeeded once.
bool has_volume_files(int dir);

}  // namespace coracle::runtime
