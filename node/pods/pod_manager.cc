#include "pods/pod_manager.h"

#include <coracle/informer.h>
#include <coracle/log.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "pods/pod_queue.h"
#include "pods/probe_targets.h"
#include "pods/prober.h"

namespace coracle::pods {
namespace {

using namespace std::chrono_literals;

constexpr int kWorkers = 3;
// Looks at a Pod without waiting in between; a Pod that wants more comes again.
constexpr int kMostSteps = 32;
constexpr std::chrono::seconds kRetry = 2s;
// The server may say that a Pod is gone that was here when this node went down: only when it has
// been silent for so long is a kept one started.
constexpr std::chrono::seconds kServerPatience = 3s;

}  // namespace

class PodManager::Impl {
 public:
  Impl(Client& client, const Clock& clock, Runtime& runtime, PodConnector network,
       EventRecorder& events, const PodWorkerOptions& options)
      : clock_(clock),
        runtime_(runtime),
        gc_(network.gc),
        queue_(clock),
        worker_(client, clock, runtime, std::move(network), events, options),
        prober_(
            clock,
            [this](const std::string& uid, const ProbeTarget& target) { return exec(uid, target); },
            {[this](const std::string& uid) { queue_.mark(uid); },
             [this](const std::string& uid, const ProbeTarget& target, const ProbeResult& result) {
               probe_failed(uid, target, result);
             }}),
        informer_(client, resources::kPods,
                  {.field_selector = "spec.nodeName=" + options.node_name}) {
    informer_.on_change_values([this](const ObjectKey& key, const auto& old, const auto& now) {
      if (old) touch(old->pod.meta.uid, key);
      if (now) touch(now->pod.meta.uid, key);
    });
    informer_.on_synced([this] { server_told(); });
    if (!options.kept_pods.empty()) informer_.keep(options.kept_pods);
    runtime_.on_change([this](const std::string& uid) { queue_.mark(uid); });
    worker_.hooks().on_done([this](const std::string& uid) { queue_.mark(uid); });
  }
  ~Impl() { stop(); }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  void start() {
    prober_.start();
    informer_.start();
    starter_ = std::jthread([this](const std::stop_token& stop) { adopt(stop); });
  }

  void stop() {
    if (stopped_) return;
    stopped_ = true;
    runtime_.on_change([](const std::string&) {});
    starter_.request_stop();
    {
      const MutexLock lock(mutex_);
      changed_.notify_all();
    }
    queue_.close();
    informer_.stop();
    if (starter_.joinable()) starter_.join();
    for (std::thread& worker : workers_) worker.join();
    prober_.stop();
    worker_.hooks().stop();
  }

  bool wait_adopted(Time deadline) const {
    const MutexLock lock(mutex_);
    while (!adopted())
      if (!changed_.wait_until(mutex_, deadline)) return adopted();
    return true;
  }

  void set_node_ip(const Ip& ip) {
    worker_.set_node_ip(ip);
    const MutexLock lock(mutex_);
    for (const auto& [uid, entry] : entries_) queue_.mark(uid);
  }

  void poke() {
    queue_.poke();
    prober_.poke();
  }

 private:
  using PodPtr = std::shared_ptr<const NodePod>;
  // Used by one worker at a time, the one that has the Pod from the queue.
  struct Entry {
    ObjectKey key;
    PodMemory memory;
    PodPtr latest;        // as the API answered our last write
    Json sent, answered;  // that write's status and what became of it
  };

  void touch(const std::string& uid, const ObjectKey& key) {
    {
      const MutexLock lock(mutex_);
      auto& entry = entries_[uid];
      // What was found on the node may not have told its name.
      if (!entry || entry->key.name.empty())
        entry = std::make_shared<Entry>(Entry{key, {}, nullptr, {}, {}});
    }
    queue_.mark(uid);
  }

  bool adopted() const CORACLE_REQUIRES(mutex_) { return started_ && told_ && unseen_.empty(); }

  // The API's list is in. What was put off is done now: what it does not name is removed, statuses
  // are written.
  void server_told() {
    worker_.api_told();
    const MutexLock lock(mutex_);
    if (std::exchange(told_, true)) return;
    for (const auto& [uid, entry] : entries_) {
      queue_.mark(uid);
      if (started_) unseen_.insert(uid);
    }
    changed_.notify_all();
  }

  bool told() const {
    const MutexLock lock(mutex_);
    return told_;
  }

  // Waits for the API's list, or for the kept one when that does not come, then takes on what the
  // node has, then lets the workers begin.
  void adopt(const std::stop_token& stop) {
    const auto patience_end = std::chrono::steady_clock::now() + kServerPatience;
    while (!informer_.wait_synced(std::chrono::steady_clock::now() + 500ms)) {
      if (stop.stop_requested()) return;
      if (!informer_.filled() || std::chrono::steady_clock::now() < patience_end) continue;
      log::info("pods", "the server does not answer, going on with the Pods that were kept",
                {{"pods", informer_.list().size()}});
      break;
    }
    if (informer_.synced()) server_told();  // before a worker asks, not soon after
    auto delay = 100ms;
    for (;;) {
      const auto done = take_over();
      if (done) break;
      log::warn("pods", "adopting what runs failed, trying again",
                {{"error", done.error().message}, {"milliseconds", delay.count()}});
      MutexLock lock(mutex_);
      changed_.wait_until(mutex_, std::chrono::steady_clock::now() + delay);
      if (stop.stop_requested()) return;
      delay = std::min(2 * delay, 5'000ms);
    }
    for (int i = 0; i < kWorkers; ++i) workers_.emplace_back([this] { work(); });
  }

  Result<void> take_over() {
    const auto sandboxes = TRY(runtime_.list());
    std::set<std::string> live;
    for (const auto& pod : informer_.list()) {
      touch(pod->pod.meta.uid, pod->pod.meta.key());
      live.insert(pod->pod.meta.uid);
    }
    // Unknown ones are removed by the workers; their addresses must not go before them.
    for (const SandboxState& sandbox : sandboxes) {
      touch(sandbox.spec.pod_uid, {sandbox.spec.ns, sandbox.spec.name});
      live.insert(sandbox.spec.pod_uid);
    }
    TRY(gc_(live));
    const MutexLock lock(mutex_);
    unseen_ = std::move(live);
    started_ = true;
    changed_.notify_all();
    return {};
  }

  void work() {
    while (const auto uid = queue_.take()) {
      const auto wake_at = look(*uid);
      queue_.mark_at(*uid, wake_at);
      queue_.done(*uid);
      const MutexLock lock(mutex_);
      if (unseen_.erase(*uid) > 0) changed_.notify_all();
    }
  }

  // One look at a Pod; when to look again without a change.
  std::optional<Time> look(const std::string& uid) {
    std::shared_ptr<Entry> entry;
    {
      const MutexLock lock(mutex_);
      const auto it = entries_.find(uid);
      if (it == entries_.end()) return std::nullopt;
      entry = it->second;
    }
    PodPtr pod = informer_.get(entry->key);
    const bool known = pod && pod->pod.meta.uid == uid;
    // A kept list may be older than what runs here.
    if (!known) return told() ? forget(uid) : std::nullopt;
    if (entry->latest && entry->latest->pod.meta.revision > pod->pod.meta.revision)
      pod = entry->latest;
    return advance(*entry, *pod);
  }

  std::optional<Time> forget(const std::string& uid) {
    prober_.remove(uid);
    if (const auto gone = worker_.remove(uid); !gone) {
      log::warn("pods", "removing a Pod failed, trying again",
                {{"uid", uid}, {"error", gone.error().message}, {"seconds", kRetry.count()}});
      return clock_.steady_now() + kRetry;
    }
    const MutexLock lock(mutex_);
    entries_.erase(uid);
    return std::nullopt;
  }

  std::optional<Time> advance(Entry& entry, const NodePod& pod) {
    PodMemory& memory = entry.memory;
    if (pod.pod.meta.deleting() && !memory.terminating) {
      memory.terminating = true;
      memory.retry_at.reset();  // an earlier trouble must not hold up the end
    }
    std::optional<Time> wake_at;
    std::optional<SandboxState> sandbox;
    ProbeOutcomes probes;
    bool more = true;
    // The last look is at what the last actions made.
    for (int step = 0;; ++step) {
      auto state = runtime_.state(pod.pod.meta.uid);
      if (!state && !is_not_found(state.error())) return clock_.steady_now() + kRetry;
      sandbox = state ? std::optional(std::move(*state)) : std::nullopt;
      const PodView view = picture(pod, memory, sandbox, probes);
      if (!more) break;
      if (step == kMostSteps) {
        queue_.mark(pod.pod.meta.uid);  // others first
        break;
      }
      const PodPlan plan = pod_actions(view);
      announce(pod, memory, plan);
      wake_at = plan.wake_at;
      if (plan.actions.empty()) break;
      more = apply(view, memory, plan, wake_at);
    }
    if (const auto retry = report(entry, pod, sandbox, probes))
      wake_at = wake_at ? std::min(*wake_at, *retry) : *retry;
    return wake_at;
  }

  // False, and when to go on, after a failure.
  bool apply(const PodView& view, PodMemory& memory, const PodPlan& plan,
             std::optional<Time>& wake_at) {
    for (const PodAction& action : plan.actions) {
      if (worker_.apply(view, memory, action)) continue;
      wake_at = memory.retry_at;
      return false;
    }
    return true;
  }

  PodView picture(const NodePod& pod, PodMemory& memory, std::optional<SandboxState>& sandbox,
                  ProbeOutcomes& probes) {
    const Time now = clock_.steady_now();
    const SandboxState* present = sandbox ? &*sandbox : nullptr;
    if (!memory.seeded && present) memory.announced = true;  // by the agent that started it
    seed_memory(memory, pod, present);
    if (present) observe(memory, *present, now);
    const std::string& uid = pod.pod.meta.uid;
    worker_.hooks().note(uid, memory);
    if (!memory.active_since) memory.active_since = active_since(pod, clock_);
    probes = prober_.outcomes(uid);
    const PodView view{pod, present, probes, memory, now};
    // What started since the last look is probed from now on; what ended no more.
    prober_.set(uid, probe_targets(view, clock_.now()));
    probes = prober_.outcomes(uid);
    return view;
  }

  void announce(const NodePod& pod, PodMemory& memory, const PodPlan& plan) {
    if (!std::exchange(memory.announced, true)) worker_.announce(pod);
    const PodView view{pod, nullptr, {}, memory, clock_.steady_now()};
    if (view.exceeded() && !std::exchange(memory.deadline_announced, true))
      worker_.announce_deadline(pod);
    for (const std::string& name : plan.backing_off) {
      ContainerMemory& container = memory.containers[name];
      if (std::exchange(container.backoff_announced, container.exited_id) != container.exited_id)
        worker_.announce_backoff(pod, name);
    }
  }

  std::optional<Time> report(Entry& entry, const NodePod& pod,
                             const std::optional<SandboxState>& sandbox,
                             const ProbeOutcomes& probes) {
    if (entry.memory.finished || !told()) return std::nullopt;
    const PodView view{pod, sandbox ? &*sandbox : nullptr, probes, entry.memory,
                       clock_.steady_now()};
    // What the API refuses to keep must not make us write for ever.
    Json status = worker_.status_of(view);
    if (status == pod.status() || (status == entry.sent && pod.status() == entry.answered))
      return std::nullopt;
    const auto written = worker_.write_status(view);
    if (!written) {
      log::warn("pods", "writing a Pod's status failed, trying again",
                {{"pod", pod.pod.meta.key().to_string()},
                 {"error", written.error().message},
                 {"seconds", kRetry.count()}});
      return clock_.steady_now() + kRetry;
    }
    entry.latest = *written;
    entry.sent = std::move(status);
    entry.answered = *written ? (*written)->status() : Json();
    return std::nullopt;
  }

  std::optional<ProbeResult> exec(const std::string& uid, const ProbeTarget& target) {
    const auto timeout =
        std::chrono::seconds(std::max<std::int64_t>(1, target.probe.timeout_seconds));
    const auto ran = runtime_.exec(uid, target.container, target.probe.command, timeout);
    if (ran) return ProbeResult{ran->exit_code == 0, ran->output};
    if (ran.error().code != Code::Timeout) return std::nullopt;
    std::string line;
    for (const std::string& word : target.probe.command) line += (line.empty() ? "" : " ") + word;
    return ProbeResult{false, "command " + Json(line).dump() + " timed out"};
  }

  void probe_failed(const std::string& uid, const ProbeTarget& target, const ProbeResult& result) {
    std::shared_ptr<Entry> entry;
    {
      const MutexLock lock(mutex_);
      const auto it = entries_.find(uid);
      if (it == entries_.end()) return;
      entry = it->second;
    }
    const PodPtr pod = informer_.get(entry->key);
    if (!pod || pod->pod.meta.uid != uid) return;
    worker_.announce_probe(*pod, target.container,
                           std::string(to_string(target.kind)) +
                               (result.unknown ? " probe errored and resulted in unknown state: "
                                               : " probe failed: ") +
                               result.message);
  }

  const Clock& clock_;
  Runtime& runtime_;
  const std::function<Result<void>(const std::set<std::string>&)> gc_;
  PodQueue queue_;
  PodWorker worker_;
  Prober prober_;
  Informer<NodePod> informer_;
  mutable Mutex mutex_;
  mutable CondVar changed_;
  std::map<std::string, std::shared_ptr<Entry>> entries_ CORACLE_GUARDED_BY(mutex_);
  std::set<std::string> unseen_ CORACLE_GUARDED_BY(mutex_);
  bool started_ CORACLE_GUARDED_BY(mutex_) = false;
  bool told_ CORACLE_GUARDED_BY(mutex_) = false;  // the API has, since the start
  bool stopped_ = false;
  std::jthread starter_;
  std::vector<std::thread> workers_;
};

PodManager::PodManager(Client& client, const Clock& clock, Runtime& runtime, PodConnector network,
                       EventRecorder& events, const PodWorkerOptions& options)
    : impl_(std::make_unique<Impl>(client, clock, runtime, std::move(network), events, options)) {}
PodManager::~PodManager() = default;
void PodManager::start() {
  impl_->start();
}
void PodManager::stop() {
  impl_->stop();
}
bool PodManager::wait_adopted(Time deadline) const {
  return impl_->wait_adopted(deadline);
}
void PodManager::set_node_ip(const Ip& ip) {
  impl_->set_node_ip(ip);
}
void PodManager::poke() {
  impl_->poke();
}

}  // namespace coracle::pods
