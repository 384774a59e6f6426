// What the node itself gives to volumes: directories in the data directory, and its own files.
#pragma once

#include <coracle/result.h>

#include <string>

#include "runtime/volume.h"

namespace coracle::runtime {

// The volume's directory in `dir`, which is made too: everybody may write it, or, where the volume
// has a group, its members too, who also get what is made in it. Success when it is there.
Result<void> prepare_disk_volume(const std::string& dir, const Volume& volume);

// Makes the path where the type allows to, and checks it in the words of the kubelet. Without a
// type a missing path becomes a directory.
Result<void> prepare_host_volume(const Volume& volume);

}  // namespace coracle::runtime
