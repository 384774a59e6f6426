#include "watch_stream.h"

#include <nlohmann/json.hpp>
#include <random>

#include "status.h"
#include "watch_filter.h"

namespace coracle {
namespace {

using std::chrono::steady_clock;

constexpr std::size_t kFlushAt = 256 * 1024;

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

// Collects lines and writes them together.
class Buffer {
 public:
  explicit Buffer(ChunkWriter& writer) : writer_(writer) {}
  bool add(const std::string& text) {
    text_ += text;
    return text_.size() < kFlushAt || flush();
  }
  bool flush() {
    const bool ok = writer_.write(text_);
    text_.clear();
    return ok;
  }

 private:
  ChunkWriter& writer_;
  std::string text_;
};

bool send_initial(const WatchRequest& request, WatchEncoder& encoder, Buffer& out) {
  for (const EntryPtr& entry : request.initial.entries)
    if (!out.add(encoder.event(WatchEvent::Type::Added, entry->value))) return false;
  return out.flush();
}

bool send_events(const std::vector<StoreEvent>& events, const WatchRequest& request,
                 WatchEncoder& encoder, Buffer& out) {
  for (const StoreEvent& event : events) {
    const auto seen = filter_event(event, request.options.labels, request.options.fields);
    if (seen && !out.add(encoder.event(seen->type, seen->entry->value))) return false;
  }
  return out.flush();
}

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
      return line(type_name(type), compact(partial_metadata(parse_stored(object), version)));
    case Accepted::Shape::Object:
    case Accepted::Shape::Aggregated:
      break;
  }
  return line(type_name(type), object);
}

std::string WatchEncoder::bookmark(Revision revision) {
  const Json metadata = {{"resourceVersion", std::to_string(revision)},
                         {"creationTimestamp", nullptr}};
  Json object = {{"kind", kind_.resource.kind},
                 {"apiVersion", kind_.resource.api_version()},
                 {"metadata", metadata}};
  const std::string& version = output_.accepted.version;
  if (output_.accepted.shape == Accepted::Shape::PartialMetadata)
    object = partial_metadata(object, version);
  if (output_.accepted.shape == Accepted::Shape::Table) {
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

void run_watch(const WatchRequest& request, const WatchTimes& times, const Clock& clock,
               ChunkWriter& writer) {
  WatchEncoder encoder(*request.kind, request.output, clock);
  if (request.error) {
    writer.write(encoder.error(*request.error));
    return;
  }
  Buffer out(writer);
  if (!send_initial(request, encoder, out)) return;
  const auto end = steady_clock::now() + lifetime(request.options);
  auto next_bookmark = steady_clock::now() + times.bookmark_interval;
  while (writer.alive() && !writer.stop().stop_requested()) {
    const auto now = steady_clock::now();
    const bool last = now >= end;
    if (request.options.bookmarks && (last || now >= next_bookmark)) {
      const Revision seen = std::max(request.events->progress(), request.from);
      if (!writer.write(encoder.bookmark(seen))) return;
      next_bookmark = now + times.bookmark_interval;
    }
    if (last) return;
    auto wake = std::min<steady_clock::time_point>(end, now + times.liveness_interval);
    if (request.options.bookmarks) wake = std::min(wake, next_bookmark);
    const auto events = request.events->next(wake, writer.stop());
    if (!events) {
      if (!writer.stop().stop_requested()) writer.write(encoder.error(events.error()));
      return;
    }
    if (!events->empty() && !send_events(*events, request, encoder, out)) return;
  }
}

}  // namespace coracle
