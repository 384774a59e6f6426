// Answers what the server asks about the logs of this node's containers. Used by the tunnel's
// thread only.
#pragma once

#include <coracle/clock.h>
#include <coracle/tunnel.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "logs/dir_watch.h"
#include "runtime/runtime.h"

namespace coracle::logs {

struct LogRequest {
  std::string uid, container;
  std::string last_id;  // of the container's start before, as the Pod's status has it
  bool follow = false, previous = false, timestamps = false;
  std::optional<std::int64_t> since_seconds, tail_lines, limit_bytes;
  std::string since;   // as LogEntry::time
  std::string stream;  // "stdout" or "stderr"; "" = both
};
// From a request's options. BadRequest. Pure.
Result<LogRequest> parse_log_request(const std::string& json);

class LogService {
 public:
  // `data_dir` is the runtime's. Both must outlive it and its answers.
  static Result<std::unique_ptr<LogService>> create(const Runtime& runtime, const Clock& clock,
                                                    std::string data_dir);

  // To be drained when readable.
  DirWatch& watch() { return *watch_; }
  // The log that a request's options ask for, as text. NotFound when the container has not started,
  // or not before; BadRequest.
  Result<std::unique_ptr<TunnelSource>> serve(const std::string& options);

 private:
  LogService(const Runtime& runtime, const Clock& clock, std::string data_dir,
             std::unique_ptr<DirWatch> watch)
      : runtime_(runtime),
        clock_(clock),
        data_dir_(std::move(data_dir)),
        watch_(std::move(watch)) {}

  const Runtime& runtime_;
  const Clock& clock_;
  const std::string data_dir_;
  const std::unique_ptr<DirWatch> watch_;
};

}  // namespace coracle::logs
