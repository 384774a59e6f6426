#include "controller.h"

#include <coracle/log.h>

namespace coracle {

Controller::Controller(std::string name, const Clock& clock, Reconciler& reconciler,
                       std::function<bool(std::chrono::steady_clock::time_point)> wait_synced)
    : name_(std::move(name)),
      reconciler_(reconciler),
      wait_synced_(std::move(wait_synced)),
      queue_(clock) {}

Controller::~Controller() {
  stop();
}

void Controller::start() {
  thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

void Controller::stop() {
  if (!thread_.joinable()) return;
  thread_.request_stop();
  queue_.shut_down();
  thread_.join();
}

void Controller::run(const std::stop_token& stop) {
  // In short waits, so that stop() need not wait for a server that never answers.
  while (!stop.stop_requested() &&
         !wait_synced_(std::chrono::steady_clock::now() + std::chrono::milliseconds(200))) {
  }
  while (const auto key = queue_.take(stop)) {
    reconcile(*key);
    queue_.done(*key);
  }
}

void Controller::reconcile(const ObjectKey& key) {
  const auto done = reconciler_.reconcile(key);
  if (!done) {
    const Error& error = done.error();
    if (!is_conflict(error) && !is_not_found(error))
      log::warn(name_, "reconciling failed, trying again",
                {{"key", key.to_string()}, {"error", error.message}});
    queue_.add_rate_limited(key);
    return;
  }
  queue_.forget(key);
  if (*done) queue_.add_after(key, **done);
}

}  // namespace coracle
