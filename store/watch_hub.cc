#include "watch_hub.h"

#include <algorithm>
#include <string_view>

namespace coracle {
namespace {

// What the ring keeps of it; the state before is an earlier event's, as a rule.
std::size_t size_of(const StoreEvent& event) {
  return sizeof(StoreEvent) + sizeof(Entry) + event.entry->key.size() + event.entry->value.size();
}

}  // namespace

class WatchHub::Subscriber {
 public:
  Subscriber(std::string prefix, Revision from, std::size_t limit)
      : prefix_(std::move(prefix)), limit_(limit), seen_(from) {}

  void offer(const StoreEvent& event) {
    const std::lock_guard lock(mutex_);
    seen_ = event.revision;
    if (expired_ || std::string_view(event.entry->key).substr(0, prefix_.size()) != prefix_) return;
    const bool news = queue_.empty();
    if (queue_.size() >= limit_) {
      expired_ = true;
      queue_.clear();
    } else {
      queue_.push_back(event);
    }
    wake_.notify_one();
    if (on_event_ && (news || expired_)) on_event_();
  }
  void close() {
    const std::lock_guard lock(mutex_);
    expired_ = true;
    queue_.clear();
    wake_.notify_all();
    if (on_event_) on_event_();
  }
  void on_event(std::function<void()> wake) {
    const std::lock_guard lock(mutex_);
    on_event_ = std::move(wake);
    if (on_event_ && (expired_ || !queue_.empty())) on_event_();
  }
  Result<std::vector<StoreEvent>> next(std::chrono::steady_clock::time_point deadline,
                                       const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    // A wait that is over before it begins would still put the thread to sleep.
    if (!expired_ && queue_.empty() && deadline > std::chrono::steady_clock::now())
      wake_.wait_until(lock, stop, deadline, [this] { return expired_ || !queue_.empty(); });
    if (expired_) return Error{Code::Expired, "the watch fell behind and was closed"};
    std::vector<StoreEvent> events(std::make_move_iterator(queue_.begin()),
                                   std::make_move_iterator(queue_.end()));
    queue_.clear();
    return events;
  }
  Revision progress() {
    const std::lock_guard lock(mutex_);
    return queue_.empty() ? seen_ : queue_.front().revision - 1;
  }

 private:
  const std::string prefix_;
  const std::size_t limit_;
  std::mutex mutex_;
  std::condition_variable_any wake_;
  // Guarded by mutex_.
  std::function<void()> on_event_;
  std::deque<StoreEvent> queue_;
  Revision seen_;
  bool expired_ = false;
};

class WatchHub::Handle final : public StoreWatch {
 public:
  explicit Handle(std::shared_ptr<Subscriber> subscriber) : subscriber_(std::move(subscriber)) {}
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() override { subscriber_->on_event({}); }
  Result<std::vector<StoreEvent>> next(std::chrono::steady_clock::time_point deadline,
                                       const std::stop_token& stop) override {
    return subscriber_->next(deadline, stop);
  }
  void on_event(std::function<void()> wake) override { subscriber_->on_event(std::move(wake)); }
  Revision progress() const override { return subscriber_->progress(); }

 private:
  std::shared_ptr<Subscriber>
      subscriber_;  // the hub holds it weakly: dropping the handle ends the subscription
};

WatchHub::WatchHub(Revision start, Limits limits)
    : limits_(limits), forgotten_(start), last_(start) {}

WatchHub::~WatchHub() {
  const std::lock_guard lock(mutex_);
  for (const auto& weak : subscribers_)
    if (const auto subscriber = weak.lock()) subscriber->close();
}

void WatchHub::trim(Time now) {
  Revision old = forgotten_;
  for (; !published_.empty() && now - published_.front().first > limits_.age;
       published_.pop_front())
    old = published_.front().second;
  while (!ring_.empty() &&
         (ring_.size() > limits_.ring || bytes_ > limits_.bytes || ring_.front().revision <= old)) {
    forgotten_ = ring_.front().revision;
    bytes_ -= size_of(ring_.front());
    ring_.pop_front();
  }
  while (!published_.empty() && published_.front().second <= forgotten_) published_.pop_front();
}

void WatchHub::publish(const std::vector<StoreEvent>& events, Time now) {
  const std::lock_guard lock(mutex_);
  for (const StoreEvent& event : events) {
    last_ = event.revision;
    bytes_ += size_of(event);
    ring_.push_back(event);
  }
  published_.emplace_back(now, last_);
  trim(now);
  std::erase_if(subscribers_, [&](const std::weak_ptr<Subscriber>& weak) {
    const auto subscriber = weak.lock();
    if (subscriber)
      for (const StoreEvent& event : events) subscriber->offer(event);
    return subscriber == nullptr;
  });
}

Result<WatchHub::Ring::const_iterator> WatchHub::after(Revision from) const {
  if (from < forgotten_) {
    return Error{Code::Expired, "too old resource version: " + std::to_string(from) + " (" +
                                    std::to_string(forgotten_) + ")"};
  }
  if (from > last_) {
    return Error{Code::BadRequest, "revision " + std::to_string(from) +
                                       " lies in the future, the newest is " +
                                       std::to_string(last_)};
  }
  return std::upper_bound(
      ring_.begin(), ring_.end(), from,
      [](Revision revision, const StoreEvent& e) { return revision < e.revision; });
}

Result<WatchHub::Former> WatchHub::former(std::string_view prefix, Revision at) {
  const std::lock_guard lock(mutex_);
  Former former;
  // An event's `previous` is the oldest state only in the first event of its key.
  for (auto it = TRY(after(at)); it != ring_.end(); ++it)
    if (std::string_view(it->entry->key).substr(0, prefix.size()) == prefix)
      former.try_emplace(it->entry->key, it->previous);
  return former;
}

Result<std::unique_ptr<StoreWatch>> WatchHub::watch(std::string prefix, Revision from) {
  // Under one lock: register, then replay the ring. Whatever is published later comes after it,
  // nothing twice.
  const std::lock_guard lock(mutex_);
  const auto first = TRY(after(from));
  auto subscriber =
      std::make_shared<Subscriber>(std::move(prefix), from, std::max(limits_.queue, limits_.ring));
  for (auto it = first; it != ring_.end(); ++it) subscriber->offer(*it);
  subscribers_.push_back(subscriber);
  return std::unique_ptr<StoreWatch>(std::make_unique<Handle>(std::move(subscriber)));
}

}  // namespace coracle
