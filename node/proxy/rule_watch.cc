#include "proxy/rule_watch.h"

#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <utility>

#include "netlink/nft_watch.h"
#include "proxy/legacy_tables.h"

namespace coracle::proxy {
namespace {

using namespace std::chrono_literals;

// A look at the number of rules costs two microseconds. What it finds is repaired in as much time
// again with a thousand Services: all in all within a second.
constexpr itimerspec kLookInterval{.it_interval = {.tv_sec = 0, .tv_nsec = 400'000'000},
                                   .it_value = {.tv_sec = 0, .tv_nsec = 400'000'000}};
// With more, repairing everything is as good as repairing each.
constexpr std::size_t kMaxDamagedChains = 64;

class NftRuleWatch final : public RuleWatch {
 public:
  NftRuleWatch(NftWatch watch, WatchedRules rules)
      : watch_(std::move(watch)), rules_(std::move(rules)) {}

  int fd() const override { return watch_.fd(); }

  int commits() const override { return watch_.fd(); }

  Result<void> before_own_change() override {
    read_others();
    own_ = {};
    before_ = TRY(nft_generation());
    return {};
  }
  bool in_force(pid_t pid, int transactions) override {
    const auto taken = read(pid);
    own_.complete = own_.complete && taken.complete;
    own_.own_transactions += taken.own_transactions;
    return own_.own_transactions >= transactions;
  }
  // A change of ours may tell more than the socket holds. Nothing is lost then that we would miss,
  // if the only transactions were ours: otherwise a full repair, which may do the same, would
  // follow upon itself for ever.
  Result<void> after_own_change(pid_t pid, int transactions) override {
    (void)in_force(pid, transactions);
    if (own_.complete) return {};
    const std::uint32_t after = TRY(nft_generation());
    if (after - before_ != static_cast<std::uint32_t>(transactions)) damage_.unknown = true;
    return {};
  }
  Result<RuleDamage> look() override {
    read_others();
    return std::exchange(damage_, {});
  }

 private:
  NftWatch::Taken read(pid_t own) {
    return watch_.read(own, [this](const NftChange& change) { note(change); });
  }
  void read_others() {
    if (!read(0).complete) damage_.unknown = true;
  }
  void note(const NftChange& change) {
    if (damage_.unknown || !rules_.tables.contains(change.table)) return;
    const ChainId id{change.table, change.chain};
    if (change.chain.empty() || damage_.chains.size() >= kMaxDamagedChains) {
      damage_ = {.unknown = true};
    } else if (rules_.parents.contains(id)) {
      damage_.parents.insert(id);
    } else if (rules_.own(change.chain)) {
      damage_.chains.insert(id);
    }
  }

  NftWatch watch_;
  const WatchedRules rules_;
  RuleDamage damage_;
  NftWatch::Taken own_;  // since before_own_change()
  std::uint32_t before_ = 0;
};

// The number of rules is looked at all the time. Copying the rules shows edits in place too, but
// takes 20 ms with 1,000 Services: that is done at once when somebody lets go of the lock, else as
// often as the budget allows, so that all looks of an idle minute cost at most some 15 ms.
class LegacyRuleWatch final : public RuleWatch {
 public:
  LegacyRuleWatch(LegacyTables tables, WatchedRules rules)
      : tables_(std::move(tables)),
        rules_(std::move(rules)),
        lock_events_(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK)),
        timer_(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)),
        either_(::epoll_create1(EPOLL_CLOEXEC)) {
    (void)::timerfd_settime(timer_, 0, &kLookInterval, nullptr);
    for (const int fd : {lock_events_, timer_}) {
      epoll_event event{};
      event.events = EPOLLIN;
      (void)::epoll_ctl(either_, EPOLL_CTL_ADD, fd, &event);
    }
    watch_lock();
  }
  ~LegacyRuleWatch() override {
    for (const int fd : {lock_events_, timer_, either_}) {
      if (fd >= 0) ::close(fd);
    }
  }
  LegacyRuleWatch(const LegacyRuleWatch&) = delete;
  LegacyRuleWatch& operator=(const LegacyRuleWatch&) = delete;

  int fd() const override { return either_; }
  int commits() const override { return -1; }
  bool in_force(pid_t /*pid*/, int /*transactions*/) override { return false; }

  Result<void> before_own_change() override {
    damaged_ = damaged_ || (known_ && TRY(fingerprint()) != seen_);
    return {};
  }
  Result<void> after_own_change(pid_t /*pid*/, int /*transactions*/) override {
    watch_lock();
    (void)lock_was_used();
    sizes_ = TRY(sizes());
    seen_ = TRY(fingerprint());
    known_ = true;
    return {};
  }
  Result<RuleDamage> look() override {
    std::uint64_t ticks = 0;
    (void)!::read(timer_, &ticks, sizeof(ticks));
    const auto sizes_now = TRY(sizes());
    const bool used = lock_was_used();
    if (known_ && (used || sizes_now != sizes_ || budget_.allows(Clock::now()))) {
      damaged_ = damaged_ || TRY(fingerprint()) != seen_;
      sizes_ = sizes_now;
    }
    // What is there now is compared again once it has been repaired.
    if (damaged_) known_ = false;
    return RuleDamage{.unknown = std::exchange(damaged_, false)};
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr const char* kLockFile = "/run/xtables.lock";

  // The file is made by the first iptables-legacy that runs.
  void watch_lock() {
    if (!watched_ && lock_events_ >= 0)
      watched_ = ::inotify_add_watch(lock_events_, kLockFile, IN_CLOSE | IN_DELETE_SELF) >= 0;
  }
  bool lock_was_used() {
    if (lock_events_ < 0) return false;
    alignas(inotify_event) std::array<char, 4096> buffer;  // NOLINT(*-member-init): read fills it
    bool used = false;
    for (ssize_t n = 0; (n = ::read(lock_events_, buffer.data(), buffer.size())) > 0;) {
      used = true;
      for (ssize_t i = 0; i < n;) {
        const auto* event = reinterpret_cast<const inotify_event*>(buffer.data() + i);
        if ((event->mask & IN_IGNORED) != 0) watched_ = false;
        i += static_cast<ssize_t>(sizeof(inotify_event) + event->len);
      }
    }
    watch_lock();
    return used;
  }

  Result<std::map<std::string, LegacyTables::Size>> sizes() const {
    std::map<std::string, LegacyTables::Size> out;
    for (const std::string& table : rules_.tables) out[table] = TRY(tables_.size(table));
    return out;
  }
  Result<std::uint64_t> fingerprint() {
    const auto began = Clock::now();
    std::uint64_t sum = 0;
    for (const std::string& table : rules_.tables)
      sum = sum * 31 + TRY(tables_.fingerprint(table, rules_.own));
    budget_.spent(began, Clock::now());
    return sum;
  }

  LegacyTables tables_;
  const WatchedRules rules_;
  const int lock_events_, timer_, either_;
  bool watched_ = false;
  std::map<std::string, LegacyTables::Size> sizes_;
  std::uint64_t seen_ = 0;
  bool known_ = false;  // seen_ is what our last change left
  bool damaged_ = false;
  LookBudget budget_{5000};
};

}  // namespace

Result<std::unique_ptr<RuleWatch>> RuleWatch::open(IptablesVariant variant, WatchedRules rules) {
  if (variant == IptablesVariant::Nft)
    return std::unique_ptr<RuleWatch>(
        std::make_unique<NftRuleWatch>(TRY(NftWatch::open()), std::move(rules)));
  return std::unique_ptr<RuleWatch>(
      std::make_unique<LegacyRuleWatch>(TRY(LegacyTables::open()), std::move(rules)));
}

}  // namespace coracle::proxy
