// The runtime "process": each Pod a supervisor process of this executable, found again by the lock
// it holds; all state in files (sandbox_files.h). See supervisor.cc for its orders.
#pragma once

#include <map>
#include <mutex>
#include <thread>

#include "runtime/runtime.h"
#include "runtime/sandbox_files.h"

namespace coracle::runtime {

class ProcessRuntime : public Runtime {
 public:
  static Result<std::unique_ptr<Runtime>> create(const ProcessRuntimeOptions& options);
  ~ProcessRuntime() override;
  ProcessRuntime(const ProcessRuntime&) = delete;
  ProcessRuntime& operator=(const ProcessRuntime&) = delete;

  Result<void> check_image(const std::string& image) const override;
  Result<void> create_sandbox(const SandboxSpec& spec) override;
  Result<NetNs> network_namespace(const std::string& pod_uid) const override;
  Result<void> write_etc(const std::string& pod_uid, const std::string& hosts,
                         const std::string& resolv_conf) override;
  Result<ContainerState> start_container(const std::string& pod_uid,
                                         const ContainerSpec& spec) override;
  Result<void> signal_container(const std::string& pod_uid, const std::string& container,
                                int signal) override;
  Result<ExecResult> exec(const std::string& pod_uid, const std::string& container,
                          const std::vector<std::string>& argv,
                          std::chrono::milliseconds timeout) override;
  Result<SandboxState> state(const std::string& pod_uid) const override;
  Result<std::vector<SandboxState>> list() const override;
  Result<void> remove_sandbox(const std::string& pod_uid) override;
  void on_change(std::function<void(const std::string& pod_uid)> f) override;

 private:
  ProcessRuntime(std::string pods_dir, std::vector<std::string> hidden, Fd executable, Fd epoll,
                 Fd wake);
  Result<Fd> sandbox_dir(const std::string& pod_uid) const;
  Result<void> prepare_files(const SandboxSpec& spec);
  void follow(const std::string& pod_uid) const;
  void forget(const std::string& pod_uid);
  void watch(const std::stop_token& stop);
  void heard(int fd);

  const std::string pods_dir_;
  const std::vector<std::string> hidden_;
  const Fd executable_, epoll_, wake_;
  mutable std::mutex mutex_;
  mutable std::map<std::string, Fd> watched_;  // a connection to each living supervisor, by uid
  std::mutex listener_mutex_;                  // held while it is called
  std::function<void(const std::string&)> listener_;
  std::jthread thread_;
};

}  // namespace coracle::runtime
