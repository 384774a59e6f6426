#include "pods/prober.h"

#include <algorithm>
#include <utility>

namespace coracle::pods {
namespace {

using namespace std::chrono_literals;

// Exec probes that run at once: a slow one delays others only beyond this.
constexpr std::size_t kMostExecThreads = 16;
constexpr auto kLongestWait = std::chrono::milliseconds(3'600'000);

// The same probe of the same container: what it has counted stays. When it started and what was
// assumed of it at first does not matter any more.
bool same(const ProbeTarget& a, const ProbeTarget& b) {
  return a.container == b.container && a.container_id == b.container_id && a.kind == b.kind &&
         a.probe == b.probe && a.ip == b.ip && a.port == b.port;
}

// A container that has started is started for ever; one that failed its liveness or startup probe
// is going to end.
bool is_over(ProbeKind kind, Verdict verdict) {
  if (kind == ProbeKind::Startup && verdict == Verdict::Success) return true;
  return kind != ProbeKind::Readiness && verdict == Verdict::Failure;
}

std::chrono::seconds period_of(const Probe& probe) {
  return std::chrono::seconds(std::max<std::int64_t>(1, probe.period_seconds));
}

}  // namespace

Prober::Prober(const Clock& clock, Exec exec, Listeners listeners)
    : clock_(clock), exec_(std::move(exec)), listeners_(std::move(listeners)) {}

Prober::~Prober() {
  stop();
}

void Prober::start() {
  thread_ = std::thread([this] { loop(); });
}

void Prober::stop() {
  std::vector<std::thread> threads;
  {
    const MutexLock lock(mutex_);
    stopped_ = true;
    exec_queue_.clear();
    threads.swap(exec_threads_);
    exec_changed_.notify_all();
  }
  net_.wake();
  if (thread_.joinable()) thread_.join();
  for (std::thread& thread : threads) thread.join();
}

void Prober::set(const std::string& pod_uid, const std::vector<ProbeTarget>& targets) {
  {
    const MutexLock lock(mutex_);
    std::vector<bool> known(targets.size(), false);
    for (auto it = entries_.begin(); it != entries_.end();) {
      const auto found =
          std::find_if(targets.begin(), targets.end(),
                       [&](const ProbeTarget& target) { return same(target, it->second.target); });
      if (it->second.pod_uid != pod_uid) {
        ++it;
      } else if (found != targets.end()) {
        known[static_cast<std::size_t>(found - targets.begin())] = true;
        ++it;
      } else {
        cancelled_.push_back(it->first);
        it = entries_.erase(it);
      }
    }
    for (std::size_t i = 0; i < targets.size(); ++i)
      if (!known[i])
        entries_.emplace(++last_id_,
                         Entry{pod_uid, targets[i], ProbeTracker(targets[i]), targets[i].first});
  }
  net_.wake();
}

ProbeOutcomes Prober::outcomes(const std::string& pod_uid) const {
  const MutexLock lock(mutex_);
  ProbeOutcomes out;
  for (const auto& [id, entry] : entries_) {
    if (entry.pod_uid != pod_uid) continue;
    ProbeOutcome& outcome = out[entry.target.container];
    outcome.container_id = entry.target.container_id;
    switch (entry.target.kind) {
      case ProbeKind::Startup:
        outcome.startup = entry.tracker.verdict();
        break;
      case ProbeKind::Readiness:
        outcome.readiness = entry.tracker.verdict();
        break;
      case ProbeKind::Liveness:
        outcome.liveness = entry.tracker.verdict();
        break;
    }
  }
  return out;
}

void Prober::loop() {
  for (;;) {
    const auto wait = start_due();
    std::vector<std::pair<Id, std::optional<ProbeResult>>> done;
    for (auto& [id, result] : net_.wait(wait)) done.emplace_back(id, std::move(result));
    {
      const MutexLock lock(mutex_);
      if (stopped_) return;
      for (auto& exec : exec_done_) done.push_back(std::move(exec));
      exec_done_.clear();
    }
    for (const auto& [id, result] : done) finish(id, result);
  }
}

// Starts what is due; how long nothing else will be.
std::chrono::milliseconds Prober::start_due() {
  const MutexLock lock(mutex_);
  for (const Id id : cancelled_) net_.cancel(id);
  cancelled_.clear();
  const Time now = clock_.steady_now();
  Time next = now + kLongestWait;
  for (auto& [id, entry] : entries_) {
    if (entry.running || is_over(entry.target.kind, entry.tracker.verdict())) continue;
    if (entry.next <= now) {
      begin(id, entry, now);
    } else {
      next = std::min(next, entry.next);
    }
  }
  return std::chrono::ceil<std::chrono::milliseconds>(next - now);
}

void Prober::begin(Id id, Entry& entry, Time now) {
  entry.running = true;
  // In step with the first probe, also when one took long; what was missed is not made up for.
  const auto period = period_of(entry.target.probe);
  entry.next += period;
  if (entry.next <= now) entry.next = now + period;
  const bool exec = entry.target.probe.kind == Probe::Kind::Exec;
  if (exec || entry.target.port <= 0 || entry.target.port > 65535) {
    queue_exec({id, entry.pod_uid, entry.target});
  } else {
    net_.start(id, entry.target);
  }
}

void Prober::queue_exec(Job job) {
  if (job.target.probe.kind != Probe::Kind::Exec) {
    const Probe& probe = job.target.probe;
    const std::string port =
        probe.port_name.empty() ? std::to_string(probe.port) : "\"" + probe.port_name + "\"";
    exec_done_.emplace_back(job.id, ProbeResult{false, "the container has no port " + port, true});
    net_.wake();
    return;
  }
  exec_queue_.push_back(std::move(job));
  if (exec_queue_.size() > exec_idle_ && exec_threads_.size() < kMostExecThreads)
    exec_threads_.emplace_back([this] { exec_loop(); });
  exec_changed_.notify_one();
}

void Prober::exec_loop() {
  for (;;) {
    Job job;
    {
      const MutexLock lock(mutex_);
      ++exec_idle_;
      while (exec_queue_.empty() && !stopped_) exec_changed_.wait(mutex_);
      --exec_idle_;
      if (stopped_) return;
      job = std::move(exec_queue_.front());
      exec_queue_.pop_front();
    }
    auto result = exec_(job.pod_uid, job.target);
    {
      const MutexLock lock(mutex_);
      exec_done_.emplace_back(job.id, std::move(result));
    }
    net_.wake();
  }
}

void Prober::finish(Id id, const std::optional<ProbeResult>& result) {
  std::string pod_uid;
  ProbeTarget target;
  bool changed = false;
  {
    const MutexLock lock(mutex_);
    const auto it = entries_.find(id);
    if (it == entries_.end()) return;
    it->second.running = false;
    if (!result) return;  // says nothing about the container
    pod_uid = it->second.pod_uid;
    target = it->second.target;
    changed = !result->unknown && it->second.tracker.note(result->success, target.probe);
  }
  if (!result->success) listeners_.on_failure(pod_uid, target, *result);
  if (changed) listeners_.on_verdict(pod_uid);
}

}  // namespace coracle::pods
