// A runtime over a directory of its own on the real kernel, for the tests that run containers.
// Their program is its own supervisor, as `coracle` is: see main in process_runtime_netns_test.cc.
#pragma once

#include <coracle/clock.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <functional>
#include <mutex>
#include <set>
#include <sstream>

#include "runtime/runtime.h"
#include "support/eventually.h"

namespace coracle {

using namespace std::chrono_literals;

// For what must come, on a machine that is busy with other things.
inline constexpr auto kPatience = 60s;

inline std::string slurp(const std::filesystem::path& path) {
  const std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// Processes whose command line names the text.
inline std::set<pid_t> processes_of(const std::string& text) {
  std::set<pid_t> out;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    if (slurp(entry.path() / "cmdline").find(text) != std::string::npos)
      out.insert(static_cast<pid_t>(std::stol(name)));
  }
  return out;
}

// Text for `sleep` by which its process is found, and no other test program's that runs beside us.
inline std::string own_seconds(int number) {
  return std::to_string(number) + std::to_string(1'000'000 + getpid());
}
// A process that was killed may be found until the kernel has taken it apart.
inline bool await_no_process(const std::string& text) {
  return test::eventually([&] { return processes_of(text).empty(); });
}

// What the function returns when run in a child process, whose mounts and signals are its own.
inline std::string in_child(const std::function<std::string()>& f) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return "no pipe";
  const pid_t pid = fork();
  if (pid == 0) {
    const std::string text = f();
    (void)!write(ends[1], text.data(), text.size());
    _exit(0);
  }
  close(ends[1]);
  std::string out;
  char buffer[4096];
  for (ssize_t n = 0; (n = read(ends[0], buffer, sizeof(buffer))) > 0;)
    out.append(buffer, static_cast<std::size_t>(n));
  close(ends[0]);
  (void)waitpid(pid, nullptr, 0);
  return out;
}

class ProcessRuntimeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    // Longer than a socket's address may be.
    dir_ =
        "/var/tmp/coracle-runtime-test-" + std::to_string(getpid()) + "/" + std::string(120, 'd');
    std::filesystem::create_directories(dir_);
    std::ofstream(dir_ + "/secret") << "the data directory's secret";
    open();
  }
  void TearDown() override {
    if (runtime_ == nullptr) open();
    const auto all = runtime_->list();
    if (all)
      for (const SandboxState& s : *all) {
        const auto removed = runtime_->remove_sandbox(s.spec.pod_uid);
        EXPECT_TRUE(removed) << removed.error().message;
      }
    runtime_.reset();
    EXPECT_EQ(processes_of(dir_), std::set<pid_t>());
    std::filesystem::remove_all(std::filesystem::path(dir_).parent_path());
  }

  // As an agent's start does.
  void open() {
    runtime_.reset();
    auto made =
        make_process_runtime({.data_dir = dir_, .pod_max_pids = pod_max_pids_}, system_clock());
    ASSERT_TRUE(made) << made.error().message;
    runtime_ = std::move(*made);
    runtime_->on_change([this](const std::string& uid) {
      const std::lock_guard lock(mutex_);
      changed_.insert(uid);
      heard_.notify_all();
    });
  }
  void sandbox(const std::string& uid = "pod-a") {
    const auto made = runtime_->create_sandbox(
        {.pod_uid = uid, .ns = "default", .name = uid, .hostname = uid, .host_network = false});
    ASSERT_TRUE(made) << made.error().message;
  }
  Result<ContainerState> start(const std::vector<std::string>& command, int restart = 0,
                               const std::string& uid = "pod-a", const std::string& name = "c") {
    ContainerSpec spec;
    spec.name = name;
    spec.image = "coracle/host";
    spec.command = command;
    spec.env = {{"PATH", "/usr/bin:/bin"}, {"GREETING", "hello"}};
    spec.restart_count = restart;
    return runtime_->start_container(uid, spec);
  }
  Result<ContainerState> shell(const std::string& script, int restart = 0,
                               const std::string& uid = "pod-a", const std::string& name = "c") {
    return start({"sh", "-c", script}, restart, uid, name);
  }
  // Once the container has ended; the event is awaited, not the time.
  ContainerState ended(const std::string& uid = "pod-a", const std::string& name = "c") {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    for (;;) {
      const auto state = runtime_->state(uid);
      if (state)
        for (const ContainerState& c : state->containers)
          if (c.name == name && c.status == ContainerState::Status::Exited) return c;
      std::unique_lock lock(mutex_);
      if (!heard_.wait_until(lock, deadline, [&] { return changed_.erase(uid) > 0; })) break;
    }
    ADD_FAILURE() << name << " of " << uid << " does not end";
    return {};
  }
  std::string output(const std::string& script) {
    const auto ran = runtime_->exec("pod-a", "c", {"sh", "-c", script}, kPatience);
    EXPECT_TRUE(ran) << ran.error().message;
    return ran ? ran->output : "";
  }
  // The supervisors of this test's sandboxes.
  std::set<pid_t> supervisors() const {
    std::set<pid_t> out;
    for (const pid_t pid : processes_of("coracle-supervisor"))
      if (slurp("/proc/" + std::to_string(pid) + "/cmdline").find(dir_) != std::string::npos)
        out.insert(pid);
    return out;
  }
  // Kills the only supervisor there is and waits until the process is gone.
  void kill_supervisor_and_await(pid_t process) {
    const int pidfd = static_cast<int>(syscall(SYS_pidfd_open, process, 0));
    ASSERT_GE(pidfd, 0);
    const auto all = supervisors();
    ASSERT_EQ(all.size(), 1U);
    ASSERT_EQ(kill(*all.begin(), SIGKILL), 0);
    pollfd wait = {pidfd, POLLIN, 0};
    EXPECT_EQ(poll(&wait, 1, 60'000), 1) << "its container lives on";
    if (wait.revents == 0) (void)kill(process, SIGKILL);
    close(pidfd);
  }
  std::string log(int restart = 0, const std::string& name = "c") const {
    return slurp(dir_ + "/pods/pod-a/containers/" + name + "/" + std::to_string(restart) + ".log");
  }

  std::string dir_;
  std::int64_t pod_max_pids_ = ProcessRuntimeOptions{}.pod_max_pids;  // from the next open() on
  std::unique_ptr<Runtime> runtime_;
  std::mutex mutex_;
  std::condition_variable heard_;
  std::set<std::string> changed_;
};

}  // namespace coracle
