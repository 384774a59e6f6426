// What the hub's thread and those that ask share.
#pragma once

#include <coracle/mutex.h>
#include <coracle/tunnel.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "tunnel_hub.h"

namespace coracle::tunnel {

// A request under way, and what has come of its answer.
struct Exchange {
  Exchange(std::string to, TunnelRequest what) : node(std::move(to)), request(std::move(what)) {}

  const std::string node;
  const TunnelRequest request;
  // Of the hub's thread.
  std::uint64_t connection = 0;  // 0: not sent yet
  std::int32_t stream = 0;

  Mutex mutex;
  CondVar answered;
  int status CORACLE_GUARDED_BY(mutex) = 0;  // 0: no answer yet
  std::string body CORACLE_GUARDED_BY(mutex);
  std::size_t taken CORACLE_GUARDED_BY(mutex) = 0;  // bytes that the node may send more
  bool ended CORACLE_GUARDED_BY(mutex) = false;     // nothing comes any more
  bool broken CORACLE_GUARDED_BY(mutex) = false;    // and not all came
  bool closed CORACLE_GUARDED_BY(mutex) = false;    // nobody wants it any more
  std::function<void()> wake CORACLE_GUARDED_BY(mutex);

  void add(const char* bytes, std::size_t size);
  void answer(int code);
  void end(bool whole);

 private:
  void tell() CORACLE_REQUIRES(mutex);
};

// Where news for the hub's thread is left. Thread-safe.
class Desk {
 public:
  explicit Desk(int wake_fd) : wake_fd_(wake_fd) {}
  Desk(const Desk&) = delete;
  Desk& operator=(const Desk&) = delete;
  ~Desk();

  struct News {
    std::vector<std::shared_ptr<Exchange>> exchanges;  // to look at
    std::vector<std::unique_ptr<TunnelPeer>> peers;    // connected
    bool stop = false;
  };
  void post(std::shared_ptr<Exchange> exchange);
  void post(std::unique_ptr<TunnelPeer> peer);
  void stop();
  News take();
  int fd() const { return wake_fd_; }

  // Who is connected: said by the hub's thread, awaited by others. False: not by the deadline, or
  // the hub has stopped.
  void set_connected(std::set<std::string> nodes);
  bool await(const std::string& node, std::chrono::steady_clock::time_point deadline);
  std::size_t connected() const;

 private:
  void ring() const;

  const int wake_fd_;
  mutable Mutex mutex_;
  CondVar changed_;
  News news_ CORACLE_GUARDED_BY(mutex_);
  std::set<std::string> connected_ CORACLE_GUARDED_BY(mutex_);
  bool stopped_ CORACLE_GUARDED_BY(mutex_) = false;
};

}  // namespace coracle::tunnel
