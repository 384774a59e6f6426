// What a Pod's containers share, or get from the node: values of the runtime's interface.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace coracle {

struct Volume {
  enum class Kind {
    Disk,    // a directory in the data directory; outlives its containers and the sandbox
    Memory,  // a tmpfs that ends with the sandbox
    Host,    // what the node has at `path`
  };
  std::string name = {};
  Kind kind = Kind::Disk;
  std::string path = {}, type = {};  // Host; the type as hostPath.type has it
  std::uint64_t size = 0;            // Memory: bytes at most; 0: half of the node's memory
  std::optional<gid_t> group = {};   // Disk, Memory: may read and write all of it
  bool operator==(const Volume&) const = default;
};

struct VolumeFile {
  std::string data;
  mode_t mode = 0644;
  bool operator==(const VolumeFile&) const = default;
};
using VolumeFiles = std::map<std::string, VolumeFile>;  // by path, relative and without ".."

struct VolumeMount {
  std::string volume;
  std::string target;  // in the container
  // Of the volume; "": all of it. Made, as a directory, where it is missing.
  std::string sub_path = {};
  bool read_only = false;
  bool submounts_read_only = false;  // also what is mounted below it on the node
  bool operator==(const VolumeMount&) const = default;
};

}  // namespace coracle
