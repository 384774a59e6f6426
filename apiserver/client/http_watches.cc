#include "http_watches.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

namespace coracle {
namespace {

constexpr std::size_t kMaxWaitingEvents = 1'000;         // then the connection is not read on
constexpr std::size_t kMaxLine = std::size_t{8} << 20U;  // of one event

std::optional<WatchEvent::Type> type_of(const std::string& text) {
  if (text == "ADDED") return WatchEvent::Type::Added;
  if (text == "MODIFIED") return WatchEvent::Type::Modified;
  if (text == "DELETED") return WatchEvent::Type::Deleted;
  if (text == "BOOKMARK") return WatchEvent::Type::Bookmark;
  return std::nullopt;
}

}  // namespace

// One connection: filled by the loop's thread, emptied by the watcher's.
class HttpWatches::Stream {
 public:
  Stream(std::shared_ptr<const HttpClientOptions> options, Connections& connections,
         const std::string& path)
      : options_(std::move(options)),
        handle_(curl_easy_init()),
        headers_(request_headers(*options_, "")) {
    CURL* h = handle_.get();
    route_ = apply_credentials(h, *options_);
    connections.attach(h);
    curl_easy_setopt(h, CURLOPT_URL, request_url(*options_, path).c_str());
    curl_easy_setopt(h, CURLOPT_HTTPHEADER, headers_.get());
    curl_easy_setopt(h, CURLOPT_ERRORBUFFER, problem_);
    curl_easy_setopt(h, CURLOPT_PRIVATE, this);
    curl_easy_setopt(h, CURLOPT_WRITEDATA, this);
    curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, &Stream::on_data);
  }
  CURL* handle() { return handle_.get(); }

  // Loop's thread: the connection is over.
  void finish(CURLcode code) {
    long status = 0;
    curl_easy_getinfo(handle_.get(), CURLINFO_RESPONSE_CODE, &status);
    const std::lock_guard lock(mutex_);
    if (code != CURLE_OK) {
      fail(error_from_curl(code, problem_));
    } else if (status != 200) {
      fail(error_from_status(line_, status));
    }
    over_ = true;
    changed_.notify_all();
  }

  // Loop's thread: whether a paused transfer has room again.
  bool wants_resume() {
    const std::lock_guard lock(mutex_);
    if (!paused_ || events_.size() >= kMaxWaitingEvents / 2) return false;
    paused_ = false;
    return true;
  }

  Result<std::vector<WatchEvent>> next(const std::stop_token& stop, bool& has_room) {
    std::unique_lock lock(mutex_);
    (void)changed_.wait(lock, stop, [this] { return !events_.empty() || over_ || error_; });
    std::vector<WatchEvent> out(std::make_move_iterator(events_.begin()),
                                std::make_move_iterator(events_.end()));
    events_.clear();
    has_room = paused_;
    if (out.empty() && error_ && !stop.stop_requested()) return *error_;
    return out;
  }

 private:
  static std::size_t on_data(char* data, std::size_t size, std::size_t count, void* self) {
    return static_cast<Stream*>(self)->take(data, size * count);
  }

  std::size_t take(const char* data, std::size_t size) {
    long status = 0;
    curl_easy_getinfo(handle_.get(), CURLINFO_RESPONSE_CODE, &status);
    const std::lock_guard lock(mutex_);
    if (events_.size() >= kMaxWaitingEvents) {
      paused_ = true;
      return CURL_WRITEFUNC_PAUSE;
    }
    line_.append(data, size);
    if (line_.size() > kMaxLine) {
      fail({Code::Internal, "an event of the watch is too large"});
      return 0;
    }
    if (status != 200) return size;  // the Status, kept for finish()
    std::size_t begin = 0;
    for (auto end = line_.find('\n'); end != std::string::npos; end = line_.find('\n', begin)) {
      decode(std::string_view(line_).substr(begin, end - begin));
      begin = end + 1;
    }
    line_.erase(0, begin);
    changed_.notify_all();
    return size;
  }

  // REQUIRES: mutex_ held, as below.
  void decode(std::string_view line) {
    if (line.empty()) return;
    Json event = Json::parse(line, nullptr, false);
    if (!event.is_object() || !event.contains("object"))
      return fail({Code::Internal, "the watch sent something that is no event"});
    const std::string name = json_string(event, {"type"});
    if (name == "ERROR") {
      const Json& status = event["object"];
      return fail(error_from_status(status.dump(), json_int(status, {"code"})));
    }
    const auto type = type_of(name);
    if (!type) return fail({Code::Internal, "the watch sent an event of type " + name});
    if (!error_) events_.push_back({*type, Object(std::move(event["object"]))});
  }

  void fail(Error error) {
    if (!error_) error_ = std::move(error);
  }

  const std::shared_ptr<const HttpClientOptions> options_;  // the handle reads them
  CurlHandle handle_;
  CurlHeaders headers_, route_;
  char problem_[CURL_ERROR_SIZE] = {};
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<WatchEvent> events_;
  std::string line_;
  std::optional<Error> error_;
  bool over_ = false, paused_ = false;
};

class HttpWatches::Loop {
 public:
  Loop(Connections& connections, Options options, std::function<void()> unreachable)
      : options_(std::move(options)),
        connections_(connections),
        unreachable_(std::move(unreachable)),
        multi_(curl_multi_init()),
        thread_([this](const std::stop_token& stop) { run(stop); }) {}
  ~Loop() {
    thread_.request_stop();
    curl_multi_wakeup(multi_);
    thread_.join();
    curl_multi_cleanup(multi_);
  }

  std::shared_ptr<Stream> open(const std::string& path) {
    auto stream = std::make_shared<Stream>(options_(), connections_, path);
    const std::lock_guard lock(mutex_);
    starting_.push_back(stream);
    curl_multi_wakeup(multi_);
    return stream;
  }
  // Waits until the loop has let go of it.
  void close(const std::shared_ptr<Stream>& stream) {
    std::unique_lock lock(mutex_);
    closing_.push_back(stream);
    curl_multi_wakeup(multi_);
    changed_.wait(lock, [&] {
      return std::find(closing_.begin(), closing_.end(), stream) == closing_.end();
    });
  }
  void wake() { curl_multi_wakeup(multi_); }

 private:
  void run(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      take_orders();
      int running = 0;
      curl_multi_perform(multi_, &running);
      report_ended();
      curl_multi_poll(multi_, nullptr, 0, 60'000, nullptr);
    }
    take_orders();
  }

  void take_orders() {
    const std::lock_guard lock(mutex_);
    for (auto& stream : starting_) {
      curl_multi_add_handle(multi_, stream->handle());
      streams_.push_back(std::move(stream));
    }
    starting_.clear();
    for (const auto& stream : closing_) {
      curl_multi_remove_handle(multi_, stream->handle());
      std::erase(streams_, stream);
    }
    closing_.clear();
    changed_.notify_all();
    for (const auto& stream : streams_)
      if (stream->wants_resume()) curl_easy_pause(stream->handle(), CURLPAUSE_CONT);
  }

  void report_ended() {
    int left = 0;
    while (const CURLMsg* message = curl_multi_info_read(multi_, &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      Stream* stream = nullptr;
      curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &stream);
      if (message->data.result != CURLE_OK) unreachable_();
      if (stream != nullptr) stream->finish(message->data.result);
    }
  }

  const Options options_;
  Connections& connections_;
  const std::function<void()> unreachable_;
  CURLM* multi_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::shared_ptr<Stream>> starting_, closing_;
  std::vector<std::shared_ptr<Stream>> streams_;  // the thread's
  std::jthread thread_;
};

class HttpWatches::Watch : public ClientWatch {
 public:
  Watch(std::shared_ptr<Loop> loop, std::shared_ptr<Stream> stream)
      : loop_(std::move(loop)), stream_(std::move(stream)) {}
  ~Watch() override { loop_->close(stream_); }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  Result<std::vector<WatchEvent>> next(const std::stop_token& stop) override {
    bool has_room = false;
    auto events = stream_->next(stop, has_room);
    if (has_room) loop_->wake();
    return events;
  }

 private:
  const std::shared_ptr<Loop> loop_;
  const std::shared_ptr<Stream> stream_;
};

HttpWatches::HttpWatches(Connections& connections, Options options,
                         std::function<void()> unreachable)
    : loop_(std::make_shared<Loop>(connections, std::move(options), std::move(unreachable))) {}
HttpWatches::~HttpWatches() = default;

std::unique_ptr<ClientWatch> HttpWatches::open(const std::string& path) {
  return std::make_unique<Watch>(loop_, loop_->open(path));
}

}  // namespace coracle
