#include "ipam.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "sysctl.h"

namespace coracle {
namespace {

constexpr const char* kLast = "last";
constexpr const char* kUnfinished = ".tmp";  // as write_file_atomically() names it
constexpr std::size_t kMaxUid = 253;

std::string trimmed(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

bool is_uid(const std::string& text) {
  return !text.empty() && text.size() <= kMaxUid && text.find('\n') == std::string::npos &&
         text.find('\0') == std::string::npos;
}

// Always the same length, in place: a rename over a file that exists makes ext4 write it out.
Result<void> overwrite(const std::string& path, std::string text) {
  text.resize(15, ' ');
  text += "\n";
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return Error::from_errno(errno, path);
  const ssize_t n = ::write(fd, text.data(), text.size());
  const int error = errno;
  ::close(fd);
  if (n != static_cast<ssize_t>(text.size())) return Error::from_errno(error, path);
  return {};
}

}  // namespace

Result<Ipam> Ipam::open(std::string directory, const Cidr& pod_cidr) {
  if (!pod_cidr.ip.is_v4())
    return Error{Code::BadRequest, "an IPv6 Pod CIDR is not built: " + pod_cidr.to_string()};
  Ipam ipam(std::move(directory), pod_cidr);
  TRY(ipam.load());
  return ipam;
}

Result<void> Ipam::load() {
  std::error_code error;
  std::filesystem::create_directories(directory_, error);
  if (error) return Error{Code::Internal, directory_ + ": " + error.message()};
  for (std::filesystem::directory_iterator it(directory_, error), end; !error && it != end;
       it.increment(error)) {
    const std::string name = it->path().filename().string();
    const auto content = read_small_file(it->path().string());
    if (name == kLast) {
      if (const auto last = Ip::parse(content ? trimmed(*content) : "")) last_ = *last;
      continue;
    }
    if (name.ends_with(kUnfinished)) {  // of an agent that was killed
      std::filesystem::remove(it->path(), error);
      continue;
    }
    const auto ip = Ip::parse(name);
    if (!ip) continue;  // not ours
    const std::string uid = content ? trimmed(*content) : "";
    // An unreadable record, or a second one of the same Pod, may be a running Pod's address: taken
    // until retain() says otherwise.
    const bool good = is_uid(uid) && ips_.emplace(uid, *ip).second;
    uids_[*ip] = good ? uid : "";
  }
  if (error) return Error{Code::Internal, directory_ + ": " + error.message()};
  return {};
}

Result<Ip> Ipam::allocate(const std::string& pod_uid) {
  if (!is_uid(pod_uid)) return Error{Code::BadRequest, "not a Pod uid: '" + pod_uid + "'"};
  if (const auto known = find(pod_uid)) {
    if (pod_cidr_.contains(*known)) return *known;
    TRY(forget(*known));
  }
  const std::uint32_t network = pod_cidr_.network().to_v4();
  const std::uint64_t size = pod_cidr_.size();
  const std::uint64_t usable = size > 3 ? size - 3 : 0;  // from the second host to the last but one
  std::uint64_t start = 0;
  if (last_ && pod_cidr_.contains(*last_) && last_->to_v4() >= network + 2)
    start = last_->to_v4() - network - 2 + 1;
  for (std::uint64_t i = 0; i < usable; ++i) {
    const auto offset = static_cast<std::uint32_t>((start + i) % usable);
    const Ip ip = Ip::v4(network + 2 + offset);
    if (uids_.contains(ip)) continue;
    // The pointer first: a crash in between costs an address its turn, never a double use.
    TRY(overwrite(directory_ + "/" + kLast, ip.to_string()));
    last_ = ip;
    TRY(write_file_atomically(directory_ + "/" + ip.to_string(), pod_uid + "\n"));
    uids_[ip] = pod_uid;
    ips_[pod_uid] = ip;
    return ip;
  }
  return Error{Code::Unavailable, "no free address in " + pod_cidr_.to_string() + ": all " +
                                      std::to_string(usable) + " are in use"};
}

std::optional<Ip> Ipam::find(const std::string& pod_uid) const {
  const auto it = ips_.find(pod_uid);
  if (it == ips_.end()) return std::nullopt;
  return it->second;
}

Result<void> Ipam::forget(const Ip& ip) {
  const std::string path = directory_ + "/" + ip.to_string();
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return Error::from_errno(errno, path);
  const auto it = uids_.find(ip);
  if (it == uids_.end()) return {};
  const auto owner = ips_.find(it->second);
  if (owner != ips_.end() && owner->second == ip) ips_.erase(owner);
  uids_.erase(it);
  return {};
}

Result<void> Ipam::release(const std::string& pod_uid) {
  const auto ip = find(pod_uid);
  return ip ? forget(*ip) : Result<void>();
}

Result<void> Ipam::retain(const std::set<std::string>& pod_uids) {
  const auto all = uids_;
  for (const auto& [ip, uid] : all) {
    if (!pod_uids.contains(uid)) TRY(forget(ip));
  }
  return {};
}

}  // namespace coracle
