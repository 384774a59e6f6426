#include "retention.h"

#include <utility>

namespace coracle {
namespace {

// A write removes so many at most, each of which is a write of its own.
constexpr std::size_t kMostAtOnce = 64;

}  // namespace

void RetentionQueue::note(const std::string& key, Revision revision, Time now) {
  const MutexLock lock(mutex_);
  const auto place = places_.find(key);
  if (place == places_.end()) {
    places_.emplace(key, queue_.insert(queue_.end(), {key, revision, now}));
    return;
  }
  place->second->revision = revision;
  place->second->since = now;
  queue_.splice(queue_.end(), queue_, place->second);
}

std::vector<RetentionQueue::Kept> RetentionQueue::take_due(Time now) {
  const MutexLock lock(mutex_);
  std::vector<Kept> due;
  while (!queue_.empty() && due.size() < kMostAtOnce &&
         (queue_.size() > retention_.most || now - queue_.front().since >= retention_.age)) {
    places_.erase(queue_.front().key);
    due.push_back(std::move(queue_.front()));
    queue_.pop_front();
  }
  return due;
}

}  // namespace coracle
