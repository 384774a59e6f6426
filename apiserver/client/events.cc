#include <coracle/events.h>
#include <coracle/log.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <stop_token>
#include <thread>
#include <tuple>

namespace coracle {
namespace {

constexpr std::size_t kMaxWaiting = 1'000;     // events that wait to be written; more are dropped
constexpr std::size_t kMaxRemembered = 1'000;  // events whose repeats are counted up

struct Occurrence {
  ObjectReference about;
  std::string type, reason, message;
  std::chrono::system_clock::time_point at;
};
using Identity = std::tuple<std::string, std::string, std::string, std::string, std::string>;

Identity identity(const Occurrence& o) {
  return {o.about.uid + "/" + o.about.kind + "/" + o.about.ns + "/" + o.about.name,
          o.about.field_path, o.type, o.reason, o.message};
}

// client-go's: the object's name and the time in hexadecimal.
std::string event_name(const ObjectReference& about, std::int64_t nanoseconds) {
  char hex[24];
  (void)std::snprintf(hex, sizeof(hex), "%llx", static_cast<unsigned long long>(nanoseconds));
  return about.name + "." + hex;
}

Json reference_json(const ObjectReference& about) {
  Json out = {{"kind", about.kind}, {"name", about.name}};
  if (!about.api_version.empty()) out["apiVersion"] = about.api_version;
  if (!about.ns.empty()) out["namespace"] = about.ns;
  if (!about.uid.empty()) out["uid"] = about.uid;
  if (!about.field_path.empty()) out["fieldPath"] = about.field_path;
  return out;
}

}  // namespace

ObjectReference reference_to(const Object& object) {
  return {object.api_version(), object.kind(), object.ns(), object.name(), object.uid(), ""};
}

class EventRecorder::Impl {
 public:
  Impl(Client& client, const Clock& clock, std::string component, std::string host)
      : client_(client),
        clock_(clock),
        component_(std::move(component)),
        host_(std::move(host)),
        thread_([this](const std::stop_token& stop) { run(stop); }) {}

  void record(const ObjectReference& about, const char* type, const std::string& reason,
              const std::string& message) {
    const std::lock_guard lock(mutex_);
    if (waiting_.size() >= kMaxWaiting) {
      log::debug("events", "too many wait, dropped", {{"reason", reason}, {"about", about.name}});
      return;
    }
    waiting_.push_back({about, type, reason, message, clock_.now()});
    changed_.notify_all();
  }

  void flush() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return waiting_.empty() && !writing_; });
  }

 private:
  struct Written {
    ObjectKey key;
    int count = 1;
  };

  void run(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    while (changed_.wait(lock, stop, [this] { return !waiting_.empty(); }) &&
           !stop.stop_requested()) {
      const Occurrence next = std::move(waiting_.front());
      waiting_.pop_front();
      writing_ = true;
      lock.unlock();
      write(next);
      lock.lock();
      writing_ = false;
      changed_.notify_all();
    }
    // flush() must not wait for what nobody writes any more.
    waiting_.clear();
    changed_.notify_all();
  }

  static void debug(const Occurrence& o, const Error& error) {
    log::debug("events", "an Event was not written",
               {{"reason", o.reason}, {"about", o.about.name}, {"error", error.message}});
  }

  void write(const Occurrence& o) {
    const Identity id = identity(o);
    if (const auto it = written_.find(id); it != written_.end()) {
      const auto counted = count_up(it->second, o);
      if (counted) return;
      debug(o, counted.error());
      if (!is_not_found(counted.error())) return;  // the next repeat brings the count
      written_.erase(it);                          // it has expired or was deleted
    }
    const auto created = client_.create(resources::kEvents, event_object(o));
    if (!created) {
      debug(o, created.error());
      return;
    }
    if (written_.size() >= kMaxRemembered) written_.clear();
    written_[id] = {created->key(), 1};
  }

  Result<void> count_up(Written& written, const Occurrence& o) {
    ++written.count;
    const Json patch = {{"count", written.count}, {"lastTimestamp", format_time(o.at)}};
    TRY(client_.patch(resources::kEvents, written.key, PatchType::JsonMerge, patch, ""));
    return {};
  }

  // The time in nanoseconds, but never the same twice: names of events must differ.
  std::int64_t stamp(std::chrono::system_clock::time_point at) {
    const std::int64_t now =
        std::chrono::duration_cast<std::chrono::nanoseconds>(at.time_since_epoch()).count();
    last_stamp_ = std::max(last_stamp_ + 1, now);
    return last_stamp_;
  }

  Object event_object(const Occurrence& o) {
    Json source = {{"component", component_}};
    if (!host_.empty()) source["host"] = host_;
    const std::string ns = o.about.ns.empty() ? "default" : o.about.ns;
    return Object(
        Json{{"apiVersion", "v1"},
             {"kind", "Event"},
             {"metadata", {{"name", event_name(o.about, stamp(o.at))}, {"namespace", ns}}},
             {"involvedObject", reference_json(o.about)},
             {"reason", o.reason},
             {"message", o.message},
             {"type", o.type},
             {"source", std::move(source)},
             {"count", 1},
             {"firstTimestamp", format_time(o.at)},
             {"lastTimestamp", format_time(o.at)},
             {"reportingComponent", component_},
             {"reportingInstance", host_}});
  }

  Client& client_;
  const Clock& clock_;
  const std::string component_, host_;
  std::map<Identity, Written> written_;  // the writer thread's, as the next
  std::int64_t last_stamp_ = 0;

  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<Occurrence> waiting_;
  bool writing_ = false;
  std::jthread thread_;  // last: it uses the others
};

EventRecorder::EventRecorder(Client& client, const Clock& clock, std::string component,
                             std::string host)
    : impl_(std::make_unique<Impl>(client, clock, std::move(component), std::move(host))) {}
EventRecorder::~EventRecorder() = default;
void EventRecorder::normal(const ObjectReference& about, const std::string& reason,
                           const std::string& message) {
  impl_->record(about, "Normal", reason, message);
}
void EventRecorder::warning(const ObjectReference& about, const std::string& reason,
                            const std::string& message) {
  impl_->record(about, "Warning", reason, message);
}
void EventRecorder::flush() {
  impl_->flush();
}

}  // namespace coracle
