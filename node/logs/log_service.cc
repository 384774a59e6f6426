#include "logs/log_service.h"

#include <coracle/metrics.h>
#include <coracle/object.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "logs/log_reader.h"
#include "runtime/sandbox_files.h"

namespace coracle::logs {
namespace {

metrics::Counter reads("agent_log_reads_total", "Logs that the server has asked for.");

// Nanoseconds as the entries have them.
std::string log_time(std::chrono::system_clock::time_point time) {
  std::string text = format_micro_time(time);
  return text.insert(text.size() - 1, "000");
}

Result<std::string> since_of(const std::string& text) {
  if (text.empty()) return text;
  const auto time = parse_time(text);
  if (time == std::chrono::system_clock::time_point() && !text.starts_with("1970-01-01T"))
    return Error{Code::BadRequest, "since: \"" + text + "\" is no time"};
  return log_time(time);
}

std::optional<ContainerState> find(const Runtime& runtime, const std::string& uid,
                                   const std::string& container) {
  const auto sandbox = runtime.state(uid);
  if (!sandbox) return std::nullopt;
  for (const ContainerState& state : sandbox->containers)
    if (state.name == container) return state;
  return std::nullopt;
}

// The log of one start of a container, to its end or the end of that start.
class LogSource final : public TunnelSource {
 public:
  LogSource(LogReader reader, DirWatch& watch, std::string log, std::function<bool()> over)
      : reader_(std::move(reader)), watch_(watch), log_(std::move(log)), over_(std::move(over)) {}
  LogSource(const LogSource&) = delete;
  LogSource& operator=(const LogSource&) = delete;
  ~LogSource() override { watch_.remove(watching_); }

  // To be called before the first look, so that no change is missed.
  Result<void> follow(const std::string& directory) {
    watching_ = TRY(watch_.add(directory, [this](std::string_view name) { changed(name); }));
    return {};
  }

  void start(std::function<void()> wake) override { wake_ = std::move(wake); }
  State produce(std::string& out, std::size_t room) override {
    switch (reader_.read(out, room)) {
      case LogReader::Progress::More:
        return State::More;
      case LogReader::Progress::Done:
        return State::End;
      case LogReader::Progress::Dry:
        break;
    }
    if (ended_) return State::End;
    if (watching_ >= 0 && !std::exchange(look_, false)) return State::Waiting;
    ended_ = watching_ < 0 || over_();
    if (!ended_) return State::Waiting;
    // All was written before it ended: one more look finds it.
    return watching_ < 0 ? State::End : State::More;
  }

 private:
  void changed(std::string_view name) {
    // Lines that are written say nothing of the container's end; files that are closed may.
    look_ = look_ || name != log_;
    if (wake_) wake_();
  }

  LogReader reader_;
  DirWatch& watch_;
  const std::string log_;  // the name of the newest file
  const std::function<bool()> over_;
  std::function<void()> wake_;
  int watching_ = -1;  // -1: the log is read once
  bool look_ = true;   // whether it is over
  bool ended_ = false;
};

LogReaderOptions reader_options(const LogRequest& request, const Clock& clock) {
  LogReaderOptions out;
  out.since = request.since;
  if (request.since_seconds)
    out.since = log_time(clock.now() - std::chrono::seconds(std::min<std::int64_t>(
                                           *request.since_seconds, 1'000'000'000)));
  out.stream = request.stream;
  out.tail = request.tail_lines;
  out.limit = request.limit_bytes;
  out.timestamps = request.timestamps;
  return out;
}

}  // namespace

Result<LogRequest> parse_log_request(const std::string& json) {
  const Json document = TRY(Object::parse(json)).json();
  LogRequest out;
  out.uid = json_string(document, {"uid"});
  out.container = json_string(document, {"container"});
  out.last_id = json_string(document, {"lastID"});
  out.follow = json_bool(document, {"follow"});
  out.previous = json_bool(document, {"previous"});
  out.timestamps = json_bool(document, {"timestamps"});
  out.stream = json_string(document, {"stream"});
  for (const auto& [name, number] :
       {std::pair("sinceSeconds", &out.since_seconds), std::pair("tailLines", &out.tail_lines),
        std::pair("limitBytes", &out.limit_bytes)}) {
    if (json_find(document, {name}) != nullptr) *number = json_int(document, {name}, -1);
    if (number->value_or(0) < 0) return Error{Code::BadRequest, std::string(name) + " is no size"};
  }
  if (!out.stream.empty() && out.stream != "stdout" && out.stream != "stderr")
    return Error{Code::BadRequest, "there is no stream \"" + out.stream + "\""};
  out.since = TRY(since_of(json_string(document, {"since"})));
  return out;
}

Result<std::unique_ptr<LogService>> LogService::create(const Runtime& runtime, const Clock& clock,
                                                       std::string data_dir) {
  auto watch = TRY(DirWatch::create());
  return std::unique_ptr<LogService>(
      new LogService(runtime, clock, std::move(data_dir), std::move(watch)));
}

Result<std::unique_ptr<TunnelSource>> LogService::serve(const std::string& options) {
  const LogRequest asked = TRY(parse_log_request(options));
  const auto state = find(runtime_, asked.uid, asked.container);
  if (!state) return Error{Code::NotFound, "no such container has started"};
  // Of a container that waits for its restart, the one before is the last one.
  const bool last = asked.previous && !asked.last_id.empty() && asked.last_id == state->id &&
                    state->status == ContainerState::Status::Exited;
  const int number = state->restart_count - (asked.previous && !last ? 1 : 0);
  const std::string directory =
      data_dir_ + "/pods/" + asked.uid + "/" + runtime::container_dir(asked.container);
  const std::string log = std::to_string(number) + ".log";
  const std::string path = directory + "/" + std::to_string(number);
  if (number < 0 || (asked.previous && access((path + ".spec").c_str(), F_OK) != 0))
    return Error{Code::NotFound, "no earlier start is known"};
  reads.add();
  LogReaderOptions reader = reader_options(asked, clock_);
  reader.follow = asked.follow && !asked.previous;
  const auto over = [&runtime = runtime_, uid = asked.uid, name = asked.container, number] {
    const auto now = find(runtime, uid, name);
    return !now || now->restart_count != number || now->status == ContainerState::Status::Exited;
  };
  const bool follow = reader.follow;
  auto source =
      std::make_unique<LogSource>(LogReader(path + ".log", std::move(reader)), *watch_, log, over);
  if (follow) TRY(source->follow(directory));
  return std::unique_ptr<TunnelSource>(std::move(source));
}

}  // namespace coracle::logs
