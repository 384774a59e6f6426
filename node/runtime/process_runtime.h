// The runtime "process": each Pod a supervisor process of this executable, found again by the lock
// it holds; all state in files (sandbox_files.h). See supervisor.cc for its orders.
#pragma once

#include <map>
#include <mutex>
#include <thread>

#include "runtime/cgroups.h"
#include "runtime/runtime.h"
#include "runtime/sandbox_files.h"

namespace coracle::runtime {

// Whether it can be the name of a file and nothing else.
bool plain_name(const std::string& text);

class ProcessRuntime : public Runtime {
 public:
  static Result<std::unique_ptr<Runtime>> create(const ProcessRuntimeOptions& options);
  ~ProcessRuntime() override;
  ProcessRuntime(const ProcessRuntime&) = delete;
  ProcessRuntime& operator=(const ProcessRuntime&) = delete;

  Result<void> check_image(const std::string& image) const override;
  Result<void> prepare_volume(const std::string& pod_uid, const Volume& volume) override;
  Result<void> write_volume(const std::string& pod_uid, const std::string& volume,
                            const VolumeFiles& files) override;
  bool volume_written(const std::string& pod_uid, const std::string& volume) const override;
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
  Result<ExecResult> exec_until(const std::string& pod_uid, const std::string& container,
                                const std::vector<std::string>& argv,
                                std::chrono::milliseconds timeout, int cancel) override;
  std::string limit_problem(const std::string& resource) const override;
  Result<SandboxState> state(const std::string& pod_uid) const override;
  Result<std::vector<SandboxState>> list() const override;
  Result<void> remove_sandbox(const std::string& pod_uid) override;
  Result<void> reset_sandbox(const std::string& pod_uid) override;
  void on_change(std::function<void(const std::string& pod_uid)> f) override;

 private:
  ProcessRuntime(const ProcessRuntimeOptions& options, std::vector<std::string> hidden,
                 Fd executable, Fd epoll, Fd wake);
  Result<Fd> sandbox_dir(const std::string& pod_uid) const;
  Result<void> limit(int dir, const std::string& pod_uid, const ContainerSpec& spec,
                     StartSpec& start) const;
  Result<void> prepare_files(const SandboxSpec& spec);
  std::string volumes_of(const std::string& pod_uid) const;
  Result<Fd> open_volume(const std::string& pod_uid, const std::string& volume,
                         std::optional<gid_t>& group) const;
  Result<std::vector<StartMount>> start_mounts(int dir, const std::string& pod_uid,
                                               const std::vector<VolumeMount>& mounts) const;
  Result<void> remove_volumes(const std::string& pod_uid);
  std::vector<std::string> volumes_left() const;  // uids without a sandbox
  void follow(const std::string& pod_uid) const;
  void forget(const std::string& pod_uid);
  void watch(const std::stop_token& stop);
  void heard(int fd);

  const std::string pods_dir_, volumes_dir_;
  const std::vector<std::string> hidden_;
  const std::int64_t pod_max_pids_;
  const CgroupHost cgroups_ = host_cgroups();
  const Fd executable_, epoll_, wake_;
  mutable std::mutex mutex_;
  mutable std::map<std::string, Fd> watched_;  // a connection to each living supervisor, by uid
  std::mutex listener_mutex_;                  // held while it is called
  std::function<void(const std::string&)> listener_;
  std::jthread thread_;
};

}  // namespace coracle::runtime
