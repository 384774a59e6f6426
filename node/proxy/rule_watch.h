// Notices when others change our iptables rules: at once where the kernel sends events
// (iptables-nft), else by cheap looks and by the lock file that every iptables-legacy takes. Knows
// only names of chains, and says where to look, not what to do. Used from one thread at a time.
#pragma once

#include <coracle/result.h>
#include <sys/types.h>

#include <chrono>
#include <functional>
#include <memory>
#include <set>
#include <string>

#include "proxy/iptables_tool.h"
#include "proxy/ruleset.h"

namespace coracle::proxy {

// What others may have damaged since the last look.
struct RuleDamage {
  bool unknown = false;  // anything: a table is gone, or there were more changes than were kept
  std::set<ChainId> chains = {};   // of ours
  std::set<ChainId> parents = {};  // of the system, in which our jumps may have changed
  bool empty() const { return !unknown && chains.empty() && parents.empty(); }
};

struct WatchedRules {
  std::set<std::string> tables;
  std::function<bool(const std::string& chain)> own;
  std::set<ChainId> parents;  // chains of the system that jump to ours
};

class RuleWatch {
 public:
  // Of the calling thread's network namespace, from now on.
  static Result<std::unique_ptr<RuleWatch>> open(IptablesVariant variant, WatchedRules rules);
  virtual ~RuleWatch() = default;

  // Readable when look() may have something to tell.
  virtual int fd() const = 0;

  // Whether the process `pid` has made that many transactions since before_own_change(): its
  // changes are in force then, though it may take 20 ms more to end. Without events: false.
  virtual bool in_force(pid_t pid, int transactions) = 0;
  // The descriptor that is readable when in_force() may have become true; -1: there is none.
  virtual int commits() const = 0;
  // Around each change of our own: what the process `pid` did in between is no damage.
  // `transactions`: how many it was to make.
  virtual Result<void> before_own_change() = 0;
  virtual Result<void> after_own_change(pid_t pid, int transactions) = 0;
  // What others did since the last call.
  virtual Result<RuleDamage> look() = 0;
};

// Whether a look may be taken now, so that looks cost at most a fixed share of the time.
class LookBudget {
 public:
  using Time = std::chrono::steady_clock::time_point;
  // `share`: 2000 means one two-thousandth.
  explicit LookBudget(int share) : share_(share) {}
  bool allows(Time now) const { return now >= next_; }
  void spent(Time began, Time ended) { next_ = ended + (ended - began) * share_; }

 private:
  const int share_;
  Time next_{};
};

}  // namespace coracle::proxy
