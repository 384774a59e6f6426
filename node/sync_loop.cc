#include "sync_loop.h"

#include <coracle/log.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>

namespace coracle {
namespace {

// Damage after a longer time than this is a new story.
constexpr std::chrono::seconds kCalm{10};

}  // namespace

SyncLoop::SyncLoop(std::string name, const Clock& clock, SyncLoopOptions options, Work work,
                   Probe probe, Events events)
    : name_(std::move(name)),
      clock_(clock),
      options_(options),
      work_(std::move(work)),
      probe_(std::move(probe)),
      events_(std::move(events)),
      wake_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

SyncLoop::~SyncLoop() {
  stop();
  if (wake_fd_ >= 0) ::close(wake_fd_);
}

void SyncLoop::start() {
  {
    MutexLock lock(mutex_);
    next_full_ = clock_.steady_now() + options_.full_interval;
    stopped_ = false;
  }
  thread_ = std::jthread([this](const std::stop_token& token) { loop(token); });
}

void SyncLoop::stop() {
  thread_.request_stop();
  {
    MutexLock lock(mutex_);
    stopped_ = true;
    wake();
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

void SyncLoop::mark_dirty() {
  MutexLock lock(mutex_);
  ++marked_;
  wake();
  changed_.notify_all();
}

void SyncLoop::poke() {
  MutexLock lock(mutex_);
  wake();
}

void SyncLoop::wake() {
  if (std::exchange(woken_, true)) return;
  const std::uint64_t one = 1;
  (void)!::write(wake_fd_, &one, sizeof(one));
}

bool SyncLoop::clean() const {
  MutexLock lock(mutex_);
  return ever_succeeded_ && !dirty() && !damaged_;
}

bool SyncLoop::ever_succeeded() const {
  MutexLock lock(mutex_);
  return ever_succeeded_;
}

bool SyncLoop::wait_clean(Time deadline) const {
  MutexLock lock(mutex_);
  const std::uint64_t wanted = marked_;
  while (done_ < wanted || !ever_succeeded_) {
    if (stopped_ || !changed_.wait_until(mutex_, deadline))
      return done_ >= wanted && ever_succeeded_;
  }
  return true;
}

bool SyncLoop::probing() const {
  return probe_ && ever_succeeded_ && !damaged_;
}

SyncLoop::Due SyncLoop::due(Time now) const {
  const bool full = damaged_ || now >= next_full_;
  if ((dirty() || full) && now >= not_before_) return full ? Due::FullRun : Due::Run;
  const bool regular = options_.probe_interval.count() > 0 && now >= next_probe_;
  if (probing() && (event_ || regular)) return Due::Probe;
  return Due::Nothing;
}

SyncLoop::Time SyncLoop::next_due() const {
  Time next = dirty() || damaged_ ? not_before_ : std::max(next_full_, not_before_);
  if (probing() && options_.probe_interval.count() > 0) next = std::min(next, next_probe_);
  return next;
}

void SyncLoop::loop(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    Due what = Due::Nothing;
    Time now;
    Time until;
    {
      MutexLock lock(mutex_);
      now = clock_.steady_now();
      what = due(now);
      until = next_due();
    }
    if (what == Due::Nothing) wait(now, until);
    if (what == Due::Run || what == Due::FullRun) run(what == Due::FullRun);
    if (what == Due::Probe) probe();
  }
}

// Until `until`, news or an event. The distance is the injected clock's, the wait real: a test's
// clock is moved, then poked.
void SyncLoop::wait(Time now, Time until) {
  const int events = events_ ? events_() : -1;
  std::array<pollfd, 2> polls{{{wake_fd_, POLLIN, 0}, {-1, POLLIN, 0}}};
  {
    MutexLock lock(mutex_);
    if (probing()) polls[1].fd = events;
  }
  const auto left = std::clamp<std::chrono::nanoseconds>(until - now, std::chrono::nanoseconds(0),
                                                         std::chrono::hours(1));
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(left);
  const timespec limit{.tv_sec = seconds.count(), .tv_nsec = (left - seconds).count()};
  (void)::ppoll(polls.data(), polls.size(), &limit, nullptr);
  MutexLock lock(mutex_);
  event_ = event_ || polls[1].revents != 0;
  if (!std::exchange(woken_, false)) return;
  std::uint64_t count = 0;
  (void)!::read(wake_fd_, &count, sizeof(count));
}

void SyncLoop::probe() {
  {
    MutexLock lock(mutex_);
    event_ = false;
  }
  const bool damaged = probe_();
  MutexLock lock(mutex_);
  const Time now = clock_.steady_now();
  damaged_ = damaged;
  next_probe_ = now + options_.probe_interval;
  if (!damaged) return;
  damages_ = now - last_damage_ < kCalm ? damages_ + 1 : 0;
  last_damage_ = now;
  if (damages_ == 0) {
    log::warn(name_, "others have changed what was applied, repairing it");
  } else {
    const auto apart =
        std::min(options_.min_interval * (1 << std::min(damages_, 10)), options_.repair_max);
    not_before_ = std::max(not_before_, now + apart);
  }
}

void SyncLoop::run(bool full) {
  std::uint64_t began = 0;
  {
    MutexLock lock(mutex_);
    began = marked_;
    not_before_ = clock_.steady_now() + options_.min_interval;
  }
  const Result<void> done = work_(full);
  MutexLock lock(mutex_);
  if (done && full) next_full_ = clock_.steady_now() + options_.full_interval;
  record(done, began);
  changed_.notify_all();
}

void SyncLoop::record(const Result<void>& done, std::uint64_t began) {
  const Time now = clock_.steady_now();
  next_probe_ = now + options_.probe_interval;
  event_ = static_cast<bool>(events_);  // what came during the run may have been read by it
  if (done) {
    if (failures_ > 0) log::info(name_, "it works again", {{"failures", failures_}});
    failures_ = 0;
    last_error_.clear();
    done_ = began;
    damaged_ = false;
    ever_succeeded_ = true;
    return;
  }
  // A failed run stays due, also a periodic one.
  const auto delay =
      std::min(options_.retry_min * (1 << std::min(failures_, 16)), options_.retry_max);
  ++failures_;
  damaged_ = true;
  not_before_ = std::max(not_before_, now + delay);
  if (done.error().message == last_error_) return;  // said already
  last_error_ = done.error().message;
  log::warn(name_, "it failed, trying again until it works", {{"error", last_error_}});
}

}  // namespace coracle
