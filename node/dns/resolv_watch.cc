#include "dns/resolv_watch.h"

#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <utility>

namespace coracle::dns {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostServers = 3;  // resolv.h: MAXNS
constexpr std::uint32_t kEvents =
    IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_MODIFY | IN_ONLYDIR;

}  // namespace

UpstreamConfig compute_upstream_config(const std::vector<std::string>& nameservers,
                                       const std::vector<std::string>& search, const Ip& own) {
  UpstreamConfig out;
  for (const std::string& text : nameservers) {
    const auto ip = Ip::parse(text);
    if (!ip || *ip == own || ip->is_unspecified() || out.servers.size() == kMostServers) continue;
    const UpstreamServer server{*ip};
    if (std::find(out.servers.begin(), out.servers.end(), server) == out.servers.end())
      out.servers.push_back(server);
  }
  for (const std::string& text : search) {
    const auto name = Name::parse(text);
    if (name && !name->is_root()) out.search.push_back(*name);
  }
  return out;
}

Result<std::unique_ptr<ResolvWatch>> ResolvWatch::create(std::string path) {
  const int inotify = ::inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  if (inotify < 0) return Error::from_errno(errno, "inotify_init1");
  std::unique_ptr<ResolvWatch> out(new ResolvWatch(std::move(path), inotify));
  out->watch();
  return out;
}

ResolvWatch::~ResolvWatch() {
  ::close(inotify_);
}

// The directories of the file and of what it links to. One that is not there cannot be watched.
void ResolvWatch::watch() {
  std::error_code failed;
  std::vector<fs::path> files = {path_};
  if (const fs::path target = fs::weakly_canonical(path_, failed); !failed && target != path_)
    files.push_back(target);
  std::vector<int> watches;
  names_.clear();
  for (const fs::path& file : files) {
    names_.push_back(file.filename());
    const int watch = ::inotify_add_watch(inotify_, file.parent_path().c_str(), kEvents);
    if (watch >= 0) watches.push_back(watch);
  }
  for (const int old : watches_)
    if (std::find(watches.begin(), watches.end(), old) == watches.end())
      ::inotify_rm_watch(inotify_, old);
  watches_ = std::move(watches);
}

bool ResolvWatch::changed() {
  bool touched = false;
  alignas(inotify_event) std::array<char, 8192> buffer{};
  for (;;) {
    const ssize_t size = ::read(inotify_, buffer.data(), buffer.size());
    if (size <= 0) break;
    for (std::size_t at = 0; at + sizeof(inotify_event) <= static_cast<std::size_t>(size);) {
      inotify_event event{};
      std::memcpy(&event, buffer.data() + at, sizeof(event));
      const char* name = buffer.data() + at + sizeof(event);
      const bool named =
          event.len > 0 && std::find(names_.begin(), names_.end(), name) != names_.end();
      touched = touched || named || (event.mask & IN_Q_OVERFLOW) != 0;
      at += sizeof(event) + event.len;
    }
  }
  if (touched) watch();  // it may be another link now
  return touched;
}

}  // namespace coracle::dns
