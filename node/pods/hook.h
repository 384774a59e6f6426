// What a container's lifecycle asks for after its start or before its end.
#pragma once

#include <coracle/api/pod.h>

#include <cstdint>

namespace coracle::pods {

struct Hook {
  // Unsupported: one that there is no way to run (tcpSocket): it fails, as with the kubelet.
  enum class Kind { None, Exec, HttpGet, Sleep, Unsupported };
  Kind kind = Kind::None;
  Probe action;  // command, or path, host, scheme, port and headers
  std::int64_t seconds = 0;
  bool operator==(const Hook&) const = default;
};

// `name` is "postStart" or "preStop". Members of a wrong type read as absent.
Hook decode_hook(const Json& container, const char* name);

}  // namespace coracle::pods
