// The log subresource: a client's query, what the server tells the node, and the files that a
// container's output became.
#include <apiserver/log_options.h>
#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "node/logs/log_reader.h"
#include "node/logs/log_service.h"
#include "targets.h"

namespace coracle::fuzz {
namespace {

using logs::LogReader;
using logs::LogReaderOptions;

class Directory {
 public:
  Directory() {
    char path[] = "/tmp/coracle-fuzz-XXXXXX";
    path_ = mkdtemp(path);
  }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  ~Directory() { std::filesystem::remove_all(path_); }
  std::string log() const { return path_ + "/0.log"; }

 private:
  std::string path_;
};

// What the server tells the node is always understood there.
void require_query(std::string_view text) {
  const auto query = Query::parse(text);
  if (!query) return;
  const auto options = log_options(*query, "web");
  if (!options) return;
  const Json pod = {{"metadata", {{"name", "web"}, {"uid", "u"}}}};
  const auto asked = logs::parse_log_request(encode_log_request(*options, pod, "main"));
  require(asked.has_value(), "the node understands what the server asks");
  require(asked->uid == "u" && asked->container == "main", "the container is the same");
  require(asked->follow == options->follow && asked->previous == options->previous &&
              asked->timestamps == options->timestamps,
          "the flags are the same");
  require(asked->tail_lines == options->tail_lines && asked->limit_bytes == options->limit_bytes &&
              asked->since_seconds == options->since_seconds,
          "the numbers are the same");
}

std::string read_all(const std::string& path, const LogReaderOptions& options) {
  LogReader reader(path, options);
  std::string out;
  for (int i = 0; i < 10'000; ++i) {
    const auto progress = reader.read(out, 777);
    if (progress != LogReader::Progress::More) return out;
  }
  throw Broken("a log has an end");
}

void require_log(const std::string& path, const LogReaderOptions& options) {
  const std::string shown = read_all(path, options);
  if (options.limit)
    require(static_cast<std::int64_t>(shown.size()) <= *options.limit, "no more than the limit");
  LogReaderOptions other = options;
  other.follow = true;
  require(read_all(path, other) == shown, "who follows sees what is there");
  other.limit.reset();
  require(read_all(path, other).starts_with(shown), "a limit takes from the end only");
  if (!options.tail || options.timestamps) return;
  LogReaderOptions whole = options;
  whole.limit.reset();
  const std::string last = read_all(path, whole);
  require(std::count(last.begin(), last.end(), '\n') <= *options.tail, "no more lines than asked");
  whole.tail.reset();
  require(read_all(path, whole).ends_with(last), "the last lines are last");
}

}  // namespace

void fuzz_logs(Input input) {
  static const Directory directory;
  std::string_view text = text_of(input);
  require_query(take_line(text));
  const auto request = logs::parse_log_request(std::string(take_line(text)));
  for (std::string_view rest = text; !rest.empty();) {
    const auto entry = logs::parse_entry(take_line(rest));
    require(!entry || entry->time.size() == 30, "an entry has a time");
  }
  const std::size_t cut = text.find('\0');
  const std::string path = directory.log();
  std::filesystem::remove(path + ".1");
  if (cut != std::string_view::npos) {
    std::ofstream(path + ".1", std::ios::binary) << text.substr(0, cut);
    text.remove_prefix(cut + 1);
  }
  std::ofstream(path, std::ios::binary) << text;
  require_log(path, {});
  if (!request) return;
  LogReaderOptions options;
  options.since = request->since;
  options.stream = request->stream;
  options.tail = request->tail_lines;
  options.limit = request->limit_bytes;
  options.timestamps = request->timestamps;
  require_log(path, options);
}

}  // namespace coracle::fuzz
