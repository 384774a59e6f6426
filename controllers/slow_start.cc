#include "slow_start.h"

#include <algorithm>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

namespace coracle {
namespace {

// The calls [from, to), shared out among threads; this thread is one of them.
class Batch {
 public:
  Batch(std::size_t from, std::size_t to, const std::function<Result<void>(std::size_t)>& call)
      : next_(from), end_(to), call_(call) {}

  std::optional<Error> run() {
    {
      std::vector<std::jthread> others;
      const std::size_t threads = std::min(end_ - next_, kCallsAtOnce);
      for (std::size_t i = 1; i < threads; ++i) others.emplace_back([this] { work(); });
      work();
    }
    return error_;
  }

 private:
  void work() {
    while (const auto one = take())
      if (const auto done = call_(*one); !done) refuse(done.error());
  }
  std::optional<std::size_t> take() {
    const std::lock_guard lock(mutex_);
    if (error_ || next_ == end_) return std::nullopt;
    return next_++;
  }
  void refuse(const Error& error) {
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = error;
  }

  std::mutex mutex_;
  std::size_t next_;
  const std::size_t end_;
  const std::function<Result<void>(std::size_t)>& call_;
  std::optional<Error> error_;
};

}  // namespace

Result<void> slow_start(std::size_t count, const std::function<Result<void>(std::size_t)>& call) {
  std::size_t size = 1;
  for (std::size_t from = 0; from < count; size *= 2) {
    const std::size_t to = std::min(count, from + size);
    if (auto error = Batch(from, to, call).run()) return std::move(*error);
    from = to;
  }
  return {};
}

}  // namespace coracle
