#include "logs/dir_watch.h"

#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace coracle::logs {
namespace {

constexpr std::uint32_t kEvents = IN_MODIFY | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO |
                                  IN_CLOSE_WRITE | IN_DELETE_SELF | IN_ONLYDIR;

}  // namespace

Result<std::unique_ptr<DirWatch>> DirWatch::create() {
  runtime::Fd inotify(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!inotify.valid()) return Error{Code::Internal, Error::from_errno(errno, "inotify").message};
  return std::unique_ptr<DirWatch>(new DirWatch(std::move(inotify)));
}

Result<int> DirWatch::add(const std::string& directory, Told told) {
  const int descriptor = inotify_add_watch(inotify_.get(), directory.c_str(), kEvents);
  if (descriptor < 0) return Error::from_errno(errno, "watching " + directory);
  watches_[++last_id_] = {descriptor, std::move(told)};
  return last_id_;
}

void DirWatch::remove(int id) {
  const auto it = watches_.find(id);
  if (it == watches_.end()) return;
  const int descriptor = it->second.descriptor;
  watches_.erase(it);
  const bool shared = std::any_of(watches_.begin(), watches_.end(), [&](const auto& watch) {
    return watch.second.descriptor == descriptor;
  });
  if (!shared) (void)inotify_rm_watch(inotify_.get(), descriptor);  // fails when it is gone already
}

void DirWatch::tell(int descriptor, std::string_view name) const {
  for (const auto& [id, watch] : watches_)
    if (watch.descriptor == descriptor) watch.told(name);
}

void DirWatch::tell_all() const {
  for (const auto& [id, watch] : watches_) watch.told("");
}

void DirWatch::drain() {
  alignas(inotify_event) std::array<char, 16384> buffer;  // NOLINT(*-member-init): read fills it
  for (;;) {
    const ssize_t size = read(inotify_.get(), buffer.data(), buffer.size());
    if (size <= 0) return;
    for (ssize_t at = 0; at < size;) {
      const auto* event = reinterpret_cast<const inotify_event*>(buffer.data() + at);  // NOLINT
      at += static_cast<ssize_t>(sizeof(inotify_event) + event->len);
      const bool named = event->len > 0 && (event->mask & IN_CLOSE_WRITE) == 0;
      if ((event->mask & IN_Q_OVERFLOW) != 0)
        tell_all();
      else
        tell(event->wd, named ? std::string_view(event->name) : std::string_view());
    }
  }
}

}  // namespace coracle::logs
