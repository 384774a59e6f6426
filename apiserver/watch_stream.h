// One client's watch: store events through its selectors, as lines of JSON, until it ends.
#pragma once

#include <coracle/clock.h>

#include <memory>

#include "handlers_options.h"
#include "handlers_output.h"
#include "http_server.h"
#include "registry.h"
#include "stream_loop.h"

namespace coracle {

struct WatchTimes {
  std::chrono::milliseconds bookmark_interval{60'000};
};

struct WatchRequest {
  const ResourceKind* kind = nullptr;
  WatchOptions options;
  OutputOptions output;
  ListPage initial;                    // sent as Added first; empty when the client gave a revision
  std::unique_ptr<StoreWatch> events;  // null with an error: the watch is only that
  std::optional<Error> error;
  Revision from = 0;
};

// Encodes events for one client. Not thread-safe; a Table's column definitions go out once.
class WatchEncoder {
 public:
  WatchEncoder(const ResourceKind& kind, OutputOptions output, const Clock& clock)
      : kind_(kind), output_(std::move(output)), clock_(clock) {}
  std::string event(WatchEvent::Type type, const std::string& object);
  enum class Bookmark { Progress, InitialEventsEnd };
  std::string bookmark(Revision revision, Bookmark what);
  std::string error(const Error& error) const;

 private:
  const ResourceKind& kind_;
  OutputOptions output_;
  const Clock& clock_;
  bool columns_sent_ = false;
};

// Goes on until the time is up or the watch fell behind (an ERROR event, 410). `clock` outlives it.
std::shared_ptr<StreamSource> watch_stream(WatchRequest request, const WatchTimes& times,
                                           const Clock& clock);

}  // namespace coracle
