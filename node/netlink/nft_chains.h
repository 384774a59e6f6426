// The tables and chains of nf_tables' IPv4 family, which iptables-nft makes when it needs them but
// never removes: what there is, and the removal of what nobody uses.
#pragma once

#include <coracle/result.h>

#include <compare>
#include <set>
#include <string>

namespace coracle {

struct NftChain {
  std::string table, chain;
  auto operator<=>(const NftChain&) const = default;
};
struct NftNames {
  std::set<std::string> tables;
  std::set<NftChain> chains;
  std::set<NftChain> dropping;  // of those, the base chains whose policy is to drop
};

// Of the calling thread's network namespace. Internal when the kernel does not tell, as one without
// nf_tables.
Result<NftNames> nft_names();
// Success as well when it is gone, and when it is in use: a chain with rules or that is jumped to,
// a table with chains, sets or other objects. Those stay as they are.
Result<void> remove_unused_nft_chain(const NftChain& chain);
Result<void> remove_unused_nft_table(const std::string& table);

}  // namespace coracle
