#include "watch_stream.h"

#include <nlohmann/json.hpp>
#include <random>

#include "status.h"
#include "watch_filter.h"

namespace coracle {
namespace {

using std::chrono::steady_clock;

const char* type_name(WatchEvent::Type type) {
  switch (type) {
    case WatchEvent::Type::Added:
      return "ADDED";
    case WatchEvent::Type::Modified:
      return "MODIFIED";
    case WatchEvent::Type::Deleted:
      return "DELETED";
    case WatchEvent::Type::Bookmark:
      return "BOOKMARK";
  }
  return "";
}

std::string line(const char* type, const std::string& object) {
  return std::string(R"({"type":")") + type + R"(","object":)" + object + "}\n";
}

std::string compact(const Json& document) {
  return document.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// 30 to 60 minutes when the client did not say, spread so that watches do not all come back at
// once.
std::chrono::seconds lifetime(const WatchOptions& options) {
  if (options.timeout) return *options.timeout;
  thread_local std::mt19937 engine{std::random_device{}()};
  return std::chrono::seconds(std::uniform_int_distribution<int>(1800, 3600)(engine));
}

class WatchSource final : public StreamSource {
 public:
  WatchSource(WatchRequest request, const WatchTimes& times, const Clock& clock)
      : request_(std::move(request)),
        times_(times),
        encoder_(*request_.kind, request_.output, clock),
        end_(steady_clock::now() + lifetime(request_.options)),
        next_bookmark_(steady_clock::now() + times.bookmark_interval),
        ends_initial_(request_.options.initial && request_.options.bookmarks) {}

  void start(std::function<void()> wake) override {
    if (request_.events) request_.events->on_event(std::move(wake));
  }
  bool produce(std::string& out, std::size_t room) override {
    if (request_.error) {
      out += encoder_.error(*request_.error);
      return false;
    }
    const std::size_t full = out.size() + room;
    if (!add_initial(out, full)) return true;
    if (ends_initial_)
      out += encoder_.bookmark(request_.from, WatchEncoder::Bookmark::InitialEventsEnd);
    ends_initial_ = false;
    if (const auto error = add_events(out, full)) {
      out += encoder_.error(*error);
      return false;
    }
    if (waiting()) return true;
    const auto now = steady_clock::now();
    const bool last = now >= end_;
    if (request_.options.bookmarks && (last || now >= next_bookmark_)) {
      const Revision seen = std::max(request_.events->progress(), request_.from);
      out += encoder_.bookmark(seen, WatchEncoder::Bookmark::Progress);
      next_bookmark_ = now + times_.bookmark_interval;
    }
    return !last;
  }
  steady_clock::time_point due() const override {
    return request_.options.bookmarks ? std::min(end_, next_bookmark_) : end_;
  }

 private:
  bool waiting() const { return next_event_ < events_.size(); }
  // False: there is more than fits.
  bool add_initial(std::string& out, std::size_t full) {
    auto& entries = request_.initial.entries;
    while (next_initial_ < entries.size() && out.size() < full)
      out += encoder_.event(WatchEvent::Type::Added, entries[next_initial_++]->value);
    if (next_initial_ < entries.size()) return false;
    std::vector<EntryPtr>().swap(entries);
    next_initial_ = 0;
    return true;
  }
  std::optional<Error> add_events(std::string& out, std::size_t full) {
    while (out.size() < full) {
      if (!waiting()) {
        auto taken = request_.events->next(steady_clock::time_point(), std::stop_token());
        if (!taken) return taken.error();
        events_ = std::move(*taken);
        next_event_ = 0;
        if (events_.empty()) return std::nullopt;
      }
      const StoreEvent& event = events_[next_event_++];
      const auto seen = filter_event(event, request_.options.labels, request_.options.fields);
      if (seen) out += encoder_.event(seen->type, seen->entry->value);
    }
    return std::nullopt;
  }

  WatchRequest request_;
  const WatchTimes times_;
  WatchEncoder encoder_;
  const steady_clock::time_point end_;
  steady_clock::time_point next_bookmark_;
  std::size_t next_initial_ = 0;
  bool ends_initial_;  // a client that takes bookmarks is told when the state is complete
  std::vector<StoreEvent> events_;  // taken from the watch
  std::size_t next_event_ = 0;
};

}  // namespace

std::string WatchEncoder::event(WatchEvent::Type type, const std::string& object) {
  const std::string& version = output_.accepted.version;
  switch (output_.accepted.shape) {
    case Accepted::Shape::Table: {
      const Json document = parse_stored(object);
      Json table =
          table_of(kind_, version,
                   {{"resourceVersion", json_string(document, {"metadata", "resourceVersion"})}});
      if (columns_sent_) table["columnDefinitions"] = nullptr;
      columns_sent_ = true;
      table["rows"].push_back(table_row(kind_, document, output_.include, clock_));
      return line(type_name(type), compact(table));
    }
    case Accepted::Shape::PartialMetadata:
    case Accepted::Shape::PartialMetadataList:
      return line(type_name(type), compact(partial_metadata(parse_stored(object), version)));
    case Accepted::Shape::Object:
    case Accepted::Shape::Aggregated:
      break;
  }
  return line(type_name(type), object);
}

std::string WatchEncoder::bookmark(Revision revision, Bookmark what) {
  Json metadata = {{"resourceVersion", std::to_string(revision)}, {"creationTimestamp", nullptr}};
  if (what == Bookmark::InitialEventsEnd)
    metadata["annotations"] = {{"k8s.io/initial-events-end", "true"}};
  Json object = {{"kind", kind_.resource.kind},
                 {"apiVersion", kind_.resource.api_version()},
                 {"metadata", metadata}};
  const std::string& version = output_.accepted.version;
  const Accepted::Shape shape = output_.accepted.shape;
  if (shape == Accepted::Shape::PartialMetadata || shape == Accepted::Shape::PartialMetadataList)
    object = partial_metadata(object, version);
  if (shape == Accepted::Shape::Table) {
    Json table = table_of(kind_, version, {{"resourceVersion", std::to_string(revision)}});
    if (columns_sent_) table["columnDefinitions"] = nullptr;
    columns_sent_ = true;
    Json cells = Json::array();
    for (std::size_t i = table_columns(kind_).size(); i > 0; --i) cells.push_back("");
    table["rows"].push_back(
        {{"cells", std::move(cells)}, {"object", partial_metadata(object, version)}});
    object = std::move(table);
  }
  return line("BOOKMARK", compact(object));
}

std::string WatchEncoder::error(const Error& error) const {
  return line("ERROR", compact(error_status(error, {})));
}

std::shared_ptr<StreamSource> watch_stream(WatchRequest request, const WatchTimes& times,
                                           const Clock& clock) {
  return std::make_shared<WatchSource>(std::move(request), times, clock);
}

}  // namespace coracle
