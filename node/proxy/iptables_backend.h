// The iptables ProxyBackend: remembers the Services it last applied and writes only the chains that
// differ, in one transaction. It reads the kernel's rules only for a full sync (at start, after a
// failure or a flush).
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "proxy/backend.h"
#include "proxy/iptables_tool.h"
#include "proxy/ruleset.h"

namespace coracle::proxy {

class IptablesBackend : public ProxyBackend {
 public:
  IptablesBackend(IptablesTool tool, IptablesConfig config)
      : tool_(std::move(tool)), config_(config) {}

  Result<void> sync(const ServiceTable& table) override;
  Result<bool> intact() override;
  void invalidate() override { applied_ = false; }
  Result<void> cleanup() override;

  const IptablesTool& tool() const { return tool_; }

 private:
  Result<void> sync_fully(const ServiceTable& table);
  Result<void> write_chains(const ServiceTable& table, std::set<ChainId>& wanted);
  void forget_udp_flows(const ServiceTable& table);

  IptablesTool tool_;
  IptablesConfig config_;
  Result<bool> jumps_are_there();
  // The generation of the nf_tables ruleset at which everything was last seen in place.
  std::optional<std::uint32_t> found_intact_at_;
  bool applied_ = false;     // the kernel has the rules of last_table_
  ServiceTable last_table_;  // of the last good sync
};

// What of ours a table's iptables-save text holds.
struct FoundRules {
  std::set<ChainId> chains;  // our chains
  std::map<std::string, std::vector<std::string>>
      jumps;  // chain of the system -> its rules that jump to ours
};
FoundRules find_own_rules(const std::string& table, const std::string& save_text);

}  // namespace coracle::proxy
