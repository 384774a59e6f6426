#include "desk.h"

#include <unistd.h>

#include <utility>

#include "session.h"

namespace coracle {
namespace tunnel {

void Exchange::tell() {
  answered.notify_all();
  if (wake) wake();
}

void Exchange::add(const char* bytes, std::size_t size) {
  const MutexLock lock(mutex);
  if (closed) return;
  body.append(bytes, size);
  tell();
}

void Exchange::answer(int code) {
  const MutexLock lock(mutex);
  status = code;
  tell();
}

void Exchange::end(bool whole) {
  const MutexLock lock(mutex);
  if (ended) return;
  ended = true;
  broken = !whole || status == 0;  // without a head it was no answer
  tell();
}

Desk::~Desk() {
  close(wake_fd_);
}

void Desk::ring() const {
  const std::uint64_t one = 1;
  (void)!write(wake_fd_, &one, sizeof(one));  // full means rung
}

void Desk::post(std::shared_ptr<Exchange> exchange) {
  {
    const MutexLock lock(mutex_);
    if (!stopped_) {
      news_.exchanges.push_back(std::move(exchange));
      return ring();
    }
  }
  exchange->end(false);
}

void Desk::post(std::unique_ptr<TunnelPeer> peer) {
  const MutexLock lock(mutex_);
  if (stopped_) return;
  news_.peers.push_back(std::move(peer));
  ring();
}

void Desk::stop() {
  const MutexLock lock(mutex_);
  stopped_ = true;
  news_.stop = true;
  connected_.clear();
  changed_.notify_all();
  ring();
}

Desk::News Desk::take() {
  const MutexLock lock(mutex_);
  std::uint64_t rung = 0;
  (void)!read(wake_fd_, &rung, sizeof(rung));
  return std::exchange(news_, {});
}

void Desk::set_connected(std::set<std::string> nodes) {
  const MutexLock lock(mutex_);
  if (stopped_) return;
  connected_ = std::move(nodes);
  changed_.notify_all();
}

bool Desk::await(const std::string& node, std::chrono::steady_clock::time_point deadline) {
  const MutexLock lock(mutex_);
  while (!stopped_ && !connected_.contains(node))
    if (!changed_.wait_until(mutex_, deadline)) break;
  return connected_.contains(node);
}

std::size_t Desk::connected() const {
  const MutexLock lock(mutex_);
  return connected_.size();
}

}  // namespace tunnel

TunnelStream::~TunnelStream() {
  {
    const MutexLock lock(exchange_->mutex);
    exchange_->closed = true;
    exchange_->wake = nullptr;
    std::string().swap(exchange_->body);
    if (exchange_->ended) return;
  }
  desk_->post(exchange_);
}

Result<void> TunnelStream::wait_answer(std::chrono::steady_clock::time_point deadline) {
  tunnel::Exchange& exchange = *exchange_;
  const MutexLock lock(exchange.mutex);
  // An error comes with its text.
  while (!exchange.ended && exchange.status != 200)
    if (!exchange.answered.wait_until(exchange.mutex, deadline)) break;
  if (exchange.status == 200) return {};
  if (exchange.ended && !exchange.broken)
    return Error{tunnel::error_code(exchange.status), exchange.body};
  if (exchange.ended)
    return Error{Code::Unavailable, "the connection to node \"" + exchange.node + "\" broke"};
  return Error{Code::Timeout, "node \"" + exchange.node + "\" does not answer"};
}

void TunnelStream::on_news(std::function<void()> wake) {
  const MutexLock lock(exchange_->mutex);
  exchange_->wake = std::move(wake);
  if (exchange_->ended || !exchange_->body.empty()) exchange_->wake();
}

TunnelStream::Progress TunnelStream::take(std::string& out, std::size_t room) {
  tunnel::Exchange& exchange = *exchange_;
  bool report = false;
  Progress progress = Progress::Open;
  {
    const MutexLock lock(exchange.mutex);
    if (exchange.body.size() <= room) {
      out += exchange.body;
      exchange.taken += exchange.body.size();
      std::string().swap(exchange.body);
    } else {
      out.append(exchange.body, 0, room);
      exchange.taken += room;
      exchange.body.erase(0, room);
    }
    if (exchange.ended && exchange.body.empty())
      progress = exchange.broken ? Progress::Broken : Progress::Ended;
    report = exchange.taken > 0 && !exchange.ended;
  }
  if (report) desk_->post(exchange_);
  return progress;
}

}  // namespace coracle
