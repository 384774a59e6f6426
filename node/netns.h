// Network namespaces by descriptor: made, opened, and entered only on a thread made for it, so that
// no other code ever finds itself in a foreign namespace.
#pragma once

#include <coracle/result.h>
#include <sys/types.h>

#include <functional>
#include <optional>
#include <string>
#include <utility>

namespace coracle {

class NetNs {
 public:
  // NotFound when it does not exist.
  static Result<NetNs> open(const std::string& path);
  static Result<NetNs> of_pid(pid_t pid);
  static Result<NetNs> current();  // the calling thread's
  static Result<NetNs> duplicate(int netns_fd);
  // A new one, bind-mounted at dir/name so that it lives without a process. AlreadyExists.
  static Result<NetNs> create(const std::string& dir, const std::string& name);
  // Unmounts and unlinks; success when it is gone already. It dies with its last user.
  static Result<void> remove(const std::string& dir, const std::string& name);

  NetNs(NetNs&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  NetNs& operator=(NetNs&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  NetNs(const NetNs&) = delete;
  NetNs& operator=(const NetNs&) = delete;
  ~NetNs();
  int fd() const { return fd_; }

 private:
  explicit NetNs(int fd) : fd_(fd) {}
  int fd_;
};

// Runs `f` on a new thread inside the namespace and waits for it.
Result<void> run_in_netns(int netns_fd, const std::function<Result<void>()>& f);

// As above, for functions with a value: `f` returns Result<T>.
template <typename T>
Result<T> call_in_netns(int netns_fd, const std::function<Result<T>()>& f) {
  std::optional<Result<T>> result;
  TRY(run_in_netns(netns_fd, [&]() -> Result<void> {
    result.emplace(f());
    return {};
  }));
  return std::move(*result);
}

}  // namespace coracle
