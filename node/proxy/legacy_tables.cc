#include "proxy/legacy_tables.h"

#include <arpa/inet.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <utility>
#include <vector>

namespace coracle {
namespace {

constexpr int kMaxTries = 10;

// A view of the structure at `at`; zeros behind the blob's end.
template <typename T>
T at(std::string_view blob, std::size_t offset) {
  T value{};
  if (offset <= blob.size() && blob.size() - offset >= sizeof(T))
    std::memcpy(&value, blob.data() + offset, sizeof(T));
  return value;
}

std::uint64_t mixed(std::uint64_t a, std::uint64_t b) {
  a ^= b + 0x9e3779b97f4a7c15ULL + (a << 6U) + (a >> 2U);
  a *= 0xff51afd7ed558ccdULL;
  return a ^ (a >> 33U);
}
std::uint64_t hash_of(std::string_view bytes) {
  return std::hash<std::string_view>{}(bytes);
}

// A table's entries, chain by chain. A user's chain begins behind an entry that carries its name.
class Walk {
 public:
  Walk(std::string_view blob, const std::array<int, 5>& hooks,
       const std::function<bool(const std::string&)>& own)
      : blob_(blob) {
    for (std::size_t offset = 0; offset + sizeof(ipt_entry) <= blob.size();) {
      const auto entry = at<ipt_entry>(blob, offset);
      if (entry.next_offset < sizeof(ipt_entry)) break;  // not a table
      const std::size_t next = offset + entry.next_offset;
      const auto hook = std::find(hooks.begin(), hooks.end(), static_cast<int>(offset));
      if (hook != hooks.end()) {
        chains_.push_back({offset, "hook " + std::to_string(hook - hooks.begin()), false});
      } else if (target_name(offset, entry) == XT_ERROR_TARGET) {
        const auto name = at<xt_error_target>(blob, offset + entry.target_offset);
        std::string text(name.errorname, strnlen(name.errorname, sizeof(name.errorname)));
        const bool ours = own(text);
        chains_.push_back({next, std::move(text), ours});
      }
      offset = next;
    }
  }

  // A sum over the chains: which order they have is not ours to say.
  std::uint64_t fingerprint() const {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < chains_.size(); ++i) {
      const std::size_t end = i + 1 < chains_.size() ? chains_[i + 1].begin : blob_.size();
      sum += chain(chains_[i], end);
    }
    return sum;
  }

 private:
  struct Chain {
    std::size_t begin;
    std::string name;
    bool own;
  };

  std::string target_name(std::size_t offset, const ipt_entry& entry) const {
    const auto target = at<xt_entry_target>(blob_, offset + entry.target_offset);
    return {target.u.user.name, strnlen(target.u.user.name, sizeof(target.u.user.name))};
  }
  const Chain* chain_at(std::size_t offset) const {
    const auto found = std::lower_bound(chains_.begin(), chains_.end(), offset,
                                        [](const Chain& c, std::size_t o) { return c.begin < o; });
    return found != chains_.end() && found->begin == offset ? &*found : nullptr;
  }

  std::uint64_t chain(const Chain& chain, std::size_t end) const {
    std::uint64_t hash = hash_of(chain.name);
    bool relevant = chain.own;
    for (std::size_t offset = chain.begin; offset + sizeof(ipt_entry) <= end;) {
      const auto entry = at<ipt_entry>(blob_, offset);
      if (entry.next_offset < sizeof(ipt_entry)) break;
      const auto target = at<xt_standard_target>(blob_, offset + entry.target_offset);
      // Targets without a name are verdicts; those from 0 on are jumps.
      const bool standard = target.target.u.user.name[0] == '\0';
      const Chain* to = standard && target.verdict >= 0
                            ? chain_at(static_cast<std::size_t>(target.verdict))
                            : nullptr;
      const bool head = !standard && target_name(offset, entry) == XT_ERROR_TARGET;
      if (!head && (chain.own || (to != nullptr && to->own))) {
        hash = mixed(hash, rule(offset, entry, to));
        relevant = true;
      }
      offset += entry.next_offset;
    }
    return relevant ? hash : 0;
  }

  // Without the counters and the kernel's notes; a jump's offset is replaced by the chain's name.
  std::uint64_t rule(std::size_t offset, const ipt_entry& entry, const Chain* to) const {
    const std::size_t begin = offset + sizeof(ipt_entry);
    const std::size_t end = std::min(
        blob_.size(), to == nullptr ? offset + entry.next_offset : offset + entry.target_offset);
    std::uint64_t hash = hash_of(blob_.substr(offset, sizeof(ipt_ip)));
    if (begin < end) hash = mixed(hash, hash_of(blob_.substr(begin, end - begin)));
    return to == nullptr ? hash : mixed(hash, hash_of(to->name));
  }

  std::string_view blob_;
  std::vector<Chain> chains_;
};

Result<ipt_getinfo> info_of(int fd, const std::string& table) {
  ipt_getinfo info{};
  (void)table.copy(info.name, sizeof(info.name) - 1);
  socklen_t size = sizeof(info);
  if (::getsockopt(fd, IPPROTO_IP, IPT_SO_GET_INFO, &info, &size) == 0) return info;
  if (errno == ENOENT || errno == ENOPROTOOPT) return ipt_getinfo{};  // nobody has used it
  return Error::from_errno(errno, "iptables-legacy table " + table);
}

}  // namespace

std::uint64_t fingerprint(std::string_view blob, const std::array<int, 5>& hooks,
                          const std::function<bool(const std::string&)>& own) {
  return Walk(blob, hooks, own).fingerprint();
}

LegacyTables::LegacyTables(LegacyTables&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
LegacyTables& LegacyTables::operator=(LegacyTables&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}
LegacyTables::~LegacyTables() {
  if (fd_ >= 0) ::close(fd_);
}

Result<LegacyTables> LegacyTables::open() {
  const int fd = ::socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
  if (fd < 0) return Error::from_errno(errno, "iptables-legacy");
  return LegacyTables(fd);
}

Result<LegacyTables::Size> LegacyTables::size(const std::string& table) const {
  const ipt_getinfo info = TRY(info_of(fd_, table));
  return Size{info.num_entries, info.size};
}

Result<std::uint64_t> LegacyTables::fingerprint(
    const std::string& table, const std::function<bool(const std::string&)>& own) const {
  for (int i = 0; i < kMaxTries; ++i) {
    const ipt_getinfo info = TRY(info_of(fd_, table));
    if (info.size == 0) return 0;
    std::string buffer(offsetof(ipt_get_entries, entrytable) + info.size, '\0');
    ipt_get_entries head{};
    std::memcpy(head.name, info.name, sizeof(head.name));
    head.size = info.size;
    std::memcpy(buffer.data(), &head, offsetof(ipt_get_entries, entrytable));
    auto size = static_cast<socklen_t>(buffer.size());
    if (::getsockopt(fd_, IPPROTO_IP, IPT_SO_GET_ENTRIES, buffer.data(), &size) == 0) {
      std::array<int, 5> hooks{};
      for (std::size_t hook = 0; hook < hooks.size(); ++hook)
        hooks.at(hook) =
            (info.valid_hooks >> hook & 1U) != 0 ? static_cast<int>(info.hook_entry[hook]) : -1;
      return coracle::fingerprint(
          std::string_view(buffer).substr(offsetof(ipt_get_entries, entrytable)), hooks, own);
    }
    if (errno != EAGAIN) return Error::from_errno(errno, "iptables-legacy table " + table);
  }
  return Error{Code::Unavailable, "iptables-legacy rules change faster than they can be read"};
}

}  // namespace coracle
