// A Runtime in memory: containers run until the test ends them, or a signal does. Thread-safe.
#pragma once

#include <csignal>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "node/runtime/runtime.h"

namespace coracle::test {

class FakeRuntime final : public Runtime {
 public:
  explicit FakeRuntime(const Clock& clock) : clock_(clock) {}

  Result<void> check_image(const std::string& image) const override {
    const std::string name = image.substr(0, image.find(':'));
    if (name == "coracle/echo" || name == "coracle/host") return {};
    return Error{Code::BadRequest,
                 "the runtime \"process\" runs only coracle/echo and coracle/host"};
  }
  Result<void> prepare_volume(const std::string& pod_uid, const Volume& volume) override {
    const std::lock_guard lock(mutex_);
    if (const auto failed = take_failure("prepare_volume"); !failed) return failed;
    prepared.insert(pod_uid + "/" + volume.name);
    return {};
  }
  Result<void> write_volume(const std::string& pod_uid, const std::string& volume,
                            const VolumeFiles& files) override {
    const std::lock_guard lock(mutex_);
    if (!sandboxes_.contains(pod_uid)) return gone(pod_uid);
    volumes[pod_uid + "/" + volume] = files;
    return {};
  }
  bool volume_written(const std::string& pod_uid, const std::string& volume) const override {
    const std::lock_guard lock(mutex_);
    return volumes.contains(pod_uid + "/" + volume);
  }
  Result<void> create_sandbox(const SandboxSpec& spec) override {
    const std::lock_guard lock(mutex_);
    if (const auto failed = take_failure("create_sandbox"); !failed) return failed;
    SandboxState& sandbox = sandboxes_[spec.pod_uid];
    if (sandbox.alive) return {};
    sandbox = {spec, true, clock_.now(), {}};
    return {};
  }
  Result<NetNs> network_namespace(const std::string& pod_uid) const override {
    const std::lock_guard lock(mutex_);
    if (!sandboxes_.contains(pod_uid)) return gone(pod_uid);
    return NetNs::current();
  }
  Result<void> write_etc(const std::string& pod_uid, const std::string& hosts,
                         const std::string& resolv_conf) override {
    const std::lock_guard lock(mutex_);
    if (!sandboxes_.contains(pod_uid)) return gone(pod_uid);
    etc[pod_uid] = {hosts, resolv_conf};
    return {};
  }
  Result<ContainerState> start_container(const std::string& pod_uid,
                                         const ContainerSpec& spec) override {
    const std::lock_guard lock(mutex_);
    if (const auto failed = take_failure("start_container"); !failed) return failed.error();
    const auto it = sandboxes_.find(pod_uid);
    if (it == sandboxes_.end() || !it->second.alive) return gone(pod_uid);
    ContainerState* old = find(pod_uid, spec.name);
    if (old && old->status == ContainerState::Status::Running)
      return Error{Code::Unavailable, spec.name + " runs"};
    ContainerState state;
    state.name = spec.name;
    state.id = "id-" + spec.name + "-" + std::to_string(++starts_);
    state.image = spec.image;
    state.restart_count = spec.restart_count;
    state.pid = starts_;
    state.started_at = clock_.now();
    if (old) {
      *old = state;
    } else {
      it->second.containers.push_back(state);
    }
    specs[pod_uid + "/" + spec.name] = spec;
    order.push_back(spec.name);
    return state;
  }
  Result<void> signal_container(const std::string& pod_uid, const std::string& container,
                                int signal) override {
    {
      const std::lock_guard lock(mutex_);
      signals.emplace_back(container, signal);
      if (signal == SIGTERM && ignores_term.contains(container)) return {};
    }
    end(pod_uid, container, 128 + signal, signal);
    return {};
  }
  Result<ExecResult> exec(const std::string&, const std::string& container,
                          const std::vector<std::string>& argv,
                          std::chrono::milliseconds) override {
    const std::lock_guard lock(mutex_);
    ++asked[container];
    commands.insert(argv.at(0));
    return ExecResult{exec_exit[container], "said so"};
  }
  Result<SandboxState> state(const std::string& pod_uid) const override {
    const std::lock_guard lock(mutex_);
    const auto it = sandboxes_.find(pod_uid);
    if (it == sandboxes_.end()) return gone(pod_uid);
    return it->second;
  }
  Result<std::vector<SandboxState>> list() const override {
    const std::lock_guard lock(mutex_);
    std::vector<SandboxState> out;
    for (const auto& [uid, sandbox] : sandboxes_) out.push_back(sandbox);
    return out;
  }
  Result<void> remove_sandbox(const std::string& pod_uid) override {
    const std::lock_guard lock(mutex_);
    if (const auto failed = take_failure("remove_sandbox"); !failed) return failed;
    sandboxes_.erase(pod_uid);
    std::erase_if(prepared, [&](const auto& p) { return p.starts_with(pod_uid + "/"); });
    std::erase_if(volumes, [&](const auto& v) { return v.first.starts_with(pod_uid + "/"); });
    return {};
  }
  Result<void> reset_sandbox(const std::string& pod_uid) override {
    const std::lock_guard lock(mutex_);
    if (const auto failed = take_failure("remove_sandbox"); !failed) return failed;
    sandboxes_.erase(pod_uid);
    std::erase_if(volumes, [&](const auto& v) { return v.first.starts_with(pod_uid + "/"); });
    return {};
  }
  void on_change(std::function<void(const std::string& pod_uid)> f) override {
    const std::lock_guard lock(mutex_);
    changed_ = std::move(f);
  }

  // The container ends by itself.
  void end(const std::string& pod_uid, const std::string& container, int exit_code, int signal = 0,
           const std::string& message = "") {
    std::function<void(const std::string&)> tell;
    {
      const std::lock_guard lock(mutex_);
      ContainerState* state = find(pod_uid, container);
      if (state == nullptr || state->status == ContainerState::Status::Exited) return;
      state->status = ContainerState::Status::Exited;
      state->pid = 0;
      state->exit_code = exit_code;
      state->signal = signal;
      state->termination_message = message;
      state->finished_at = clock_.now();
      tell = changed_;
    }
    if (tell) tell(pod_uid);
  }
  // Its supervisor is killed.
  void lose(const std::string& pod_uid) {
    std::function<void(const std::string&)> tell;
    {
      const std::lock_guard lock(mutex_);
      sandboxes_[pod_uid].alive = false;
      tell = changed_;
    }
    if (tell) tell(pod_uid);
  }
  // The next call of that method fails.
  void fail_once(const std::string& method) {
    const std::lock_guard lock(mutex_);
    failing_ = method;
  }
  // A copy, for tests to look at.
  template <typename T>
  T read(const T& member) const {
    const std::lock_guard lock(mutex_);
    return member;
  }
  template <typename F>
  void change(const F& f) {
    const std::lock_guard lock(mutex_);
    f(*this);
  }

  std::map<std::string, std::pair<std::string, std::string>> etc;
  std::map<std::string, ContainerSpec> specs;  // by uid/container
  std::set<std::string> prepared;              // uid/volume
  std::map<std::string, VolumeFiles> volumes;  // by uid/volume
  std::vector<std::string> order;              // of starts
  std::vector<std::pair<std::string, int>> signals;
  std::set<std::string> ignores_term;
  std::map<std::string, int> exec_exit;  // by container
  std::map<std::string, int> asked;      // how often a command was run, by container
  std::set<std::string> commands;        // the first words of those

 private:
  static Error gone(const std::string& uid) { return {Code::NotFound, "no sandbox " + uid}; }
  Result<void> take_failure(const std::string& method) {
    if (failing_ != method) return {};
    failing_.clear();
    return Error{Code::Internal, method + " was made to fail"};
  }
  ContainerState* find(const std::string& uid, const std::string& container) {
    for (ContainerState& state : sandboxes_[uid].containers)
      if (state.name == container) return &state;
    return nullptr;
  }

  const Clock& clock_;
  mutable std::mutex mutex_;
  std::map<std::string, SandboxState> sandboxes_;
  std::function<void(const std::string&)> changed_;
  std::string failing_;
  int starts_ = 0;
};

}  // namespace coracle::test
