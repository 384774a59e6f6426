#include "pods/hook_runner.h"

#include <coracle/log.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "pods/net_probe.h"

namespace coracle::pods {
namespace {

using namespace std::chrono_literals;

// Hooks that run at once: most wait all the time.
constexpr std::size_t kMostThreads = 64;
constexpr auto kStopCheck = 500ms;

bool ended(const HookRun& run) {
  return run.done || run.ends_at;
}

}  // namespace

HookRunner::HookRunner(Runtime& runtime, EventRecorder& events)
    : runtime_(runtime), events_(events), cancel_(eventfd(0, EFD_CLOEXEC)) {}

HookRunner::~HookRunner() {
  stop();
  close(cancel_);
}

void HookRunner::stop() {
  std::list<std::thread> threads;
  {
    const MutexLock lock(mutex_);
    stopping_ = true;
    queue_.clear();
    threads.swap(threads_);
  }
  const std::uint64_t one = 1;
  (void)!write(cancel_, &one, sizeof(one));
  for (std::thread& thread : threads) thread.join();
}

void HookRunner::start(HookJob job) {
  const MutexLock lock(mutex_);
  if (stopping_) return;
  for (const std::thread::id id : std::exchange(ended_, {})) {
    const auto it = std::find_if(threads_.begin(), threads_.end(),
                                 [&](const std::thread& t) { return t.get_id() == id; });
    if (it == threads_.end()) continue;
    it->join();
    threads_.erase(it);
  }
  queue_.push_back(std::move(job));
  if (threads_.size() < kMostThreads) threads_.emplace_back([this] { work(); });
}

void HookRunner::work() {
  for (;;) {
    HookJob job;
    {
      const MutexLock lock(mutex_);
      if (queue_.empty() || stopping_) {
        ended_.push_back(std::this_thread::get_id());
        return;
      }
      job = std::move(queue_.front());
      queue_.pop_front();
    }
    const bool success = run(job);
    if (stopping_) continue;  // the next agent runs it again
    const bool before = job.when == HookJob::When::PreStop;
    if (!success)
      events_.warning(job.about, before ? "FailedPreStopHook" : "FailedPostStartHook",
                      before ? "PreStopHook failed" : "PostStartHook failed");
    {
      const MutexLock lock(mutex_);
      outcomes_.emplace(job.pod_uid, Outcome{job.container_id, job.when, success});
    }
    if (done_) done_(job.pod_uid);
  }
}

bool HookRunner::run(const HookJob& job) {
  if (job.hook.kind == Hook::Kind::HttpGet) return run_http(job);
  if (job.hook.kind != Hook::Kind::Exec) return false;
  const auto ran = runtime_.exec_until(job.pod_uid, job.container, job.hook.action.command,
                                       job.timeout, cancel_);
  const std::string why = !ran                  ? ran.error().message
                          : ran->exit_code != 0 ? "exit code " + std::to_string(ran->exit_code)
                                                : "";
  // Not in the Event: what a command prints may be secret.
  if (!why.empty() && !stopping_)
    log::info("pods", "a lifecycle hook failed",
              {{"pod", job.about.ns + "/" + job.about.name},
               {"container", job.container},
               {"error", why}});
  return why.empty();
}

// Any answer will do, whatever its status.
bool HookRunner::run_http(const HookJob& job) {
  if (job.port <= 0 || job.port > 65535) return false;
  ProbeTarget target;
  target.container = job.container;
  target.probe = job.hook.action;
  target.probe.timeout_seconds = job.timeout.count();
  target.ip = job.ip;
  target.port = job.port;
  NetProbes net;
  net.start(1, target);
  while (!stopping_)
    for (const auto& [id, result] : net.wait(kStopCheck))
      return result.success || result.status != 0;
  return false;
}

void HookRunner::note(const std::string& pod_uid, PodMemory& memory) const {
  const MutexLock lock(mutex_);
  const auto [begin, end] = outcomes_.equal_range(pod_uid);
  for (auto it = begin; it != end; ++it)
    for (auto& [name, container] : memory.containers) {
      const bool before = it->second.when == HookJob::When::PreStop;
      auto& hook = before ? container.pre_stop : container.post_start;
      if (!hook || ended(*hook) || hook->container_id != it->second.container_id) continue;
      hook->done = true;
      hook->success = it->second.success;
    }
}

void HookRunner::forget(const std::string& pod_uid) {
  const MutexLock lock(mutex_);
  outcomes_.erase(pod_uid);
}

}  // namespace coracle::pods
