// iptables-nft makes tables and base chains when it first needs them, and never removes them. Those
// that were not there before our rules go with them, unless somebody uses them by then. Of the
// calling thread's network namespace. iptables-legacy's tables stay: the kernel cannot remove them.
#pragma once

#include <coracle/result.h>

#include <set>
#include <string>

#include "netlink/nft_chains.h"

namespace coracle {

// The base chains of iptables that we may need; of the tables, those that have none yet.
struct MissingChains {
  std::set<std::string> tables;
  std::set<NftChain> chains;
  bool operator==(const MissingChains&) const = default;
};
// Pure.
MissingChains missing_chains(const NftNames& there);

class BaseChains {
 public:
  // `path` keeps what was missing.
  explicit BaseChains(std::string path) : path_(std::move(path)) {}

  // To be called before the first rule. Notes what is missing; what was noted since this machine
  // has booted stays, as what was made since then is ours.
  Result<void> remember() const;
  // Removes what was missing and nobody uses, and forgets it. Goes on after errors.
  Result<void> remove() const;
  // Leaves it to another record, whose owner goes later.
  Result<void> hand_over(const BaseChains& to) const;

 private:
  Result<MissingChains> noted() const;
  Result<void> note(const MissingChains& missing) const;
  Result<void> forget() const;

  std::string path_;
};

}  // namespace coracle
