// One client's watch: store events through its selectors, as lines of JSON, until it ends.
#pragma once

#include <coracle/clock.h>

#include <memory>

#include "handlers_options.h"
#include "handlers_output.h"
#include "http_server.h"
#include "registry.h"

namespace coracle {

struct WatchTimes {
  std::chrono::milliseconds bookmark_interval{60'000};
  std::chrono::milliseconds liveness_interval{
      2'000};  // how soon a client that went away is noticed
};

struct WatchRequest {
  const ResourceKind* kind = nullptr;
  WatchOptions options;
  OutputOptions output;
  ListPage initial;                    // sent as Added first; empty when the client gave a revision
  std::shared_ptr<StoreWatch> events;  // null with an error: the watch is only that
  std::optional<Error> error;
  Revision from = 0;
};

// Encodes events for one client. Not thread-safe; a Table's column definitions go out once.
class WatchEncoder {
 public:
  WatchEncoder(const ResourceKind& kind, const OutputOptions& output, const Clock& clock)
      : kind_(kind), output_(output), clock_(clock) {}
  std::string event(WatchEvent::Type type, const std::string& object);
  std::string bookmark(Revision revision);
  std::string error(const Error& error) const;

 private:
  const ResourceKind& kind_;
  OutputOptions output_;
  const Clock& clock_;
  bool columns_sent_ = false;
};

// Runs until the time is up, the client or the server goes, or the watch fell behind (an ERROR
// event, 410).
void run_watch(const WatchRequest& request, const WatchTimes& times, const Clock& clock,
               ChunkWriter& writer);

}  // namespace coracle
