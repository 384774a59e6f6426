// What `pods/log` is asked for, and what of a Pod it means. Pure.
#pragma once

#include <coracle/object.h>
#include <coracle/result.h>

#include <cstdint>
#include <optional>
#include <string>

#include "router.h"

namespace coracle {

struct LogOptions {
  std::string container;  // "" = the only one
  bool follow = false, previous = false, timestamps = false;
  std::optional<std::int64_t> since_seconds, tail_lines, limit_bytes;
  std::string since_time;  // RFC 3339 as it was sent, "" = none
  std::string stream = "All";
};

// BadRequest for what cannot be read; Invalid, of the Pod's name, with all that is not allowed.
Result<LogOptions> log_options(const Query& query, const std::string& pod);
// As the node's agent reads them, for one container of the Pod.
std::string encode_log_request(const LogOptions& options, const Json& pod,
                               const std::string& container);

// The name of the container that is meant. BadRequest, with those to choose from.
Result<std::string> log_container(const Json& pod, const std::string& wanted);
// Why there is no log, going by the Pod's status: the node knows of none.
Error no_log(const Json& pod, const std::string& container, bool previous);

}  // namespace coracle
