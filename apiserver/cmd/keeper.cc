#include "keeper.h"

#include <coracle/log.h>

#include <algorithm>
#include <utility>

namespace coracle {
namespace {

using namespace std::chrono_literals;

constexpr auto kInterval = 10min;  // while the server answers: its Node may have learned addresses
constexpr auto kRetry = 20s;       // while it does not
constexpr auto kPause = 2s;        // between looks for being unreachable
constexpr auto kVain = 10s;
constexpr std::size_t kMostVain = 64;
constexpr std::chrono::minutes kRenewalRetry{10};

}  // namespace

Keeper::Keeper(std::string directory, NodeCredential credential, HttpClient& client,
               const Clock& clock)
    : directory_(std::move(directory)),
      client_(client),
      clock_(clock),
      credential_(std::move(credential)),
      current_(credential_.servers.empty() ? "" : credential_.servers.front()) {}

Keeper::~Keeper() {
  thread_.request_stop();
  {
    const MutexLock lock(mutex_);
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

void Keeper::start() {
  thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

void Keeper::hint(const std::string& url) {
  const Time now = clock_.steady_now();
  const MutexLock lock(mutex_);
  std::erase_if(vain_, [&](const auto& entry) { return entry.second <= now; });
  if (url == current_ || vain_.contains(url) || vain_.size() >= kMostVain) return;
  hint_ = url;
  changed_.notify_all();
  if (!following_) look_.request_stop();
}

void Keeper::unreachable() {
  const MutexLock lock(mutex_);
  unreachable_ = true;
  changed_.notify_all();
}

void Keeper::run(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    const auto hint = wait(stop);
    std::stop_source over;
    {
      const MutexLock lock(mutex_);
      // Another one may have come since.
      over = look_ = std::stop_source();
      following_ = hint.has_value();
      if (!following_ && hint_) continue;
    }
    const std::stop_callback end(stop, [&over] { over.request_stop(); });
    look(hint, over.get_token());
  }
}

std::optional<std::string> Keeper::wait(const std::stop_token& stop) {
  const MutexLock lock(mutex_);
  while (!stop.stop_requested() && !hint_) {
    const Time now = clock_.steady_now();
    const Time until = unreachable_ ? std::min(quiet_until_, next_look_) : next_look_;
    if (until <= now) break;
    changed_.wait_until(mutex_, until);
  }
  unreachable_ = false;
  return std::exchange(hint_, std::nullopt);
}

void Keeper::look(const std::optional<std::string>& hint, const std::stop_token& over) {
  const bool found = find(hint, over);
  if (found && clock_.now() >= credential_.renew_at && clock_.steady_now() >= next_renewal_)
    renew();
  const Time now = clock_.steady_now();
  const MutexLock lock(mutex_);
  if (found) unreachable_ = false;
  next_look_ = now + (found ? Time::duration(kInterval) : Time::duration(kRetry));
  quiet_until_ = now + kPause;
}

bool Keeper::find(const std::optional<std::string>& hint, const std::stop_token& stop) {
  const auto moved = find_server(directory_, credential_, hint.value_or(""), stop);
  if (hint && (!moved || credential_.servers.front() != *hint)) {
    const MutexLock lock(mutex_);
    vain_[*hint] = clock_.steady_now() + kVain;
  }
  if (!moved) return false;
  if (*moved) use();
  return true;
}

void Keeper::renew() {
  auto renewed = renew_credential(directory_, credential_, clock_);
  if (renewed) {
    credential_ = std::move(*renewed);
    return use();
  }
  next_renewal_ = clock_.steady_now() + kRenewalRetry;
  log::warn("agent", "the certificate is not renewed, retrying in 10 min",
            {{"error", renewed.error().message}});
}

void Keeper::use() {
  const std::string& server = credential_.servers.front();
  log::info("agent", "the server is asked at another address or with another certificate",
            {{"server", server}});
  if (const auto used = client_.use(credential_.client_options()); !used)
    log::error("agent", "the credential cannot be used", {{"error", used.error().message}});
  const MutexLock lock(mutex_);
  current_ = server;
}

}  // namespace coracle
