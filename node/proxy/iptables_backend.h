// The iptables ProxyBackend: remembers the Services it last applied and writes only the chains that
// differ, in one transaction, along with those that others have damaged. It reads the kernel's
// rules only for a full sync (at start, after a failure, or when it is not known what is damaged).
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "proxy/backend.h"
#include "proxy/iptables_tool.h"
#include "proxy/rule_watch.h"
#include "proxy/ruleset.h"

namespace coracle::proxy {

class IptablesBackend : public ProxyBackend {
 public:
  IptablesBackend(IptablesTool tool, IptablesConfig config)
      : tool_(std::move(tool)), config_(config) {}
  ~IptablesBackend() override { reap(true); }
  IptablesBackend(const IptablesBackend&) = delete;
  IptablesBackend& operator=(const IptablesBackend&) = delete;

  Result<void> sync(const ServiceTable& table) override;
  Result<bool> intact() override;
  int events() const override { return watch_ ? watch_->fd() : -1; }
  void invalidate() override { applied_ = false; }
  Result<void> cleanup() override;

  const IptablesTool& tool() const { return tool_; }

 private:
  Result<void> sync_fully(const ServiceTable& table);
  Result<void> sync_changes(const ServiceTable& table);
  Result<void> write_chains(const ServiceTable& table, std::set<ChainId>& wanted);
  Result<bool> jumps_are_right(const ChainId& parent);
  Result<void> restore_jumps();
  Result<void> restore(const std::string& text);
  Result<void> open_watch();
  // Looks after the processes whose changes are in force; `all`: waits for their ends.
  void reap(bool all);
  // `were_missing`: packets may have come while there were no rules.
  void forget_flows(const ServiceTable& table, bool were_missing);

  IptablesTool tool_;
  IptablesConfig config_;
  std::unique_ptr<RuleWatch> watch_;  // from the first sync on
  std::vector<pid_t> ending_;
  RuleDamage damage_;     // seen and not repaired
  bool doubted_ = false;  // one of ending_ ended badly after all: only a full sync helps
  bool applied_ = false;  // but for damage_, the kernel has the rules of last_table_
  std::optional<ServiceTable> last_table_;  // of the last good sync
};

// What of ours a table's iptables-save text holds.
struct FoundRules {
  std::set<ChainId> chains;  // our chains
  std::map<std::string, std::vector<std::string>>
      jumps;  // chain of the system -> its rules that jump to ours
};
FoundRules find_own_rules(const std::string& table, const std::string& save_text);

// What iptables-restore --noflush has to read so that the jumps to our chains are those of
// `wanted`, in that order, on top of the system's chains; `found` by table. Chains whose jumps are
// right stay as they are. Empty when all are. Pure.
std::string jump_repairs(const Ruleset& wanted, const std::map<std::string, FoundRules>& found);

// The contents of those chains of `wanted` that a sync of `table` would write; those missing from
// the result are not among them. Pure.
std::map<ChainId, std::vector<std::string>> contents_of(const std::set<ChainId>& wanted,
                                                        const ServiceTable& table,
                                                        const IptablesConfig& config);

}  // namespace coracle::proxy
